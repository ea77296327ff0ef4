#include "capi/catalog.h"

#include <limits>

#include "base/bounds.h"
#include "base/cpu.h"
#include "capi/guard.h"
#include "dialects/dialects.h"
#include "eval/eval.h"
#include "eval/task.h"
#include "model/arch.h"
#include "model/generation_settings.h"
#include "model/token_sampler.h"
#include "nibble/nibble.h"

namespace nbl::capi {
namespace {

using Spec = quant::OptionSpec;

const char* type_name(Spec::Type type) {
  switch (type) {
    case Spec::Type::integer:
      return "integer";
    case Spec::Type::real:
      return "real";
    case Spec::Type::boolean:
      return "boolean";
    case Spec::Type::choice:
      return "choice";
    case Spec::Type::text:
      return "text";
  }
  return "text";
}

Json schema_json(std::span<const Spec> schema) {
  Json list = Json::array();
  for (const Spec& spec : schema) {
    Json o = Json::object();
    o.set("name", spec.name);
    o.set("type", type_name(spec.type));
    o.set("default", spec.fallback);
    if (spec.type == Spec::Type::integer) {
      o.set("min", static_cast<int64_t>(spec.min));
      o.set("max", static_cast<int64_t>(spec.max));
    } else if (spec.type == Spec::Type::real) {
      o.set("min", spec.min);
      o.set("max", spec.max);
    }
    if (!spec.choices.empty()) {
      Json choices = Json::array();
      for (const std::string_view choice : spec.choices) choices.push_back(choice);
      o.set("choices", std::move(choices));
    }
    o.set("help", spec.help);
    list.push_back(std::move(o));
  }
  return list;
}

// The strings that the *_json functions return: made once, never freed. NULL when memory ran out while making one.
template <Json (*Make)()>
const char* text_of() noexcept {
  try {
    static const std::string* const text = new std::string(Make().dump(2));
    return text->c_str();
  } catch (...) {
    return nullptr;
  }
}

Json quantizer_settings_catalog() { return schema_json(quantizer_settings()); }
Json runtime_settings_catalog() { return schema_json(runtime_settings()); }
Json generation_settings_catalog() { return schema_json(model::generation_settings()); }
Json sampler_settings_catalog() { return schema_json(model::sampler_settings()); }
Json export_settings_catalog() { return schema_json(export_settings()); }
Json evaluation_settings_catalog() { return schema_json(evaluation_settings()); }
Json limits_catalog() {
  Json list = Json::array();
  for (const BoundInfo& each : all_bounds())
    list.push_back(Json::object({{"name", each.name}, {"default", each.standard}, {"max", each.most}, {"help", each.help}}));
  return list;
}

}  // namespace

namespace {

/// Whether the method needs calibration with its defaults or with any one option set otherwise.
bool can_use_calibration(const quant::Method& method) {
  const auto needs = [&](const std::map<std::string, std::string>& values) {
    const auto options = quant::Options::create(method.options(), values, method.id());
    return options.ok() && method.needs(*options) != quant::kNeedNone;
  };
  if (needs({})) return true;
  for (const Spec& spec : method.options()) {
    const std::string name(spec.name);
    if (spec.type == Spec::Type::boolean && needs({{name, spec.fallback == "true" ? "false" : "true"}})) return true;
    if (spec.type == Spec::Type::integer && needs({{name, std::to_string(static_cast<int64_t>(spec.max))}})) return true;
    for (const std::string_view choice : spec.choices) {
      if (needs({{name, std::string(choice)}})) return true;
    }
  }
  return false;
}

}  // namespace

Json methods_catalog() {
  Json list = Json::array();
  for (const quant::Method* method : quant::methods()) {
    Json m = Json::object();
    m.set("id", method->id());
    m.set("summary", method->summary());
    if (const auto defaults = quant::Options::create(method->options(), {}, method->id()); defaults.ok()) {
      m.set("needs_calibration", method->needs(*defaults) != quant::kNeedNone);
      m.set("nominal_bits", method->nominal_bits(*defaults));
      m.set("uses_calibration", can_use_calibration(*method));
    }
    m.set("options", schema_json(method->options()));
    list.push_back(std::move(m));
  }
  return list;
}

Json architectures_catalog() {
  Json list = Json::array();
  for (const model::Architecture* arch : model::architectures()) {
    Json types = Json::array();
    for (const std::string_view type : arch->model_types) types.push_back(type);
    list.push_back(Json::object({{"id", arch->id}, {"model_types", std::move(types)}}));
  }
  return list;
}

Json isas_catalog() {
  Json list = Json::array();
  const Isa best = best_isa();
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avxvnni, Isa::avx512, Isa::avx512vnni, Isa::avx512bf16, Isa::amx,
                        Isa::neon_dotprod, Isa::neon_i8mm}) {
    list.push_back(Json::object({{"id", isa_name(isa)}, {"usable", isa_usable(isa)}, {"best", isa == best}}));
  }
  return list;
}

Json protocols_catalog() {
  Json list = Json::array();
  for (const eval::ProtocolSpec& each : eval::protocols()) {
    list.push_back(Json::object({{"id", each.id}, {"summary", each.summary}}));
  }
  return list;
}

Json dialects_catalog() {
  Json list = Json::array();
  for (const dialects::Dialect* dialect : dialects::dialects()) {
    list.push_back(Json::object({{"id", dialect->id()},
                                 {"summary", dialect->summary()},
                                 {"limits", dialect->limits()},
                                 {"reads", true},
                                 {"writes", dialect->can_write()}}));
  }
  return list;
}

Json tasks_catalog() {
  Json list = Json::array();
  for (const eval::Task* task : eval::tasks()) {
    Json metrics = Json::array(), files = Json::array();
    for (const eval::Metric& m : task->metrics) metrics.push_back(m.name);
    for (const eval::DataFile& file : task->data) files.push_back(file.path);
    list.push_back(Json::object({{"id", task->id},
                                 {"summary", task->summary},
                                 {"version", task->version},
                                 {"output_type", eval::output_name(task->output)},
                                 {"num_fewshot", task->num_fewshot},
                                 {"metrics", std::move(metrics)},
                                 {"files", std::move(files)}}));
  }
  for (const eval::TaskGroup* group : eval::task_groups()) {
    Json members = Json::array();
    for (const std::string& member : group->members) members.push_back(member);
    list.push_back(Json::object({{"id", group->id},
                                 {"summary", "group of " + std::to_string(group->members.size()) + " tasks or groups"},
                                 {"version", group->version},
                                 {"output_type", "group"},
                                 {"members", std::move(members)}}));
  }
  list.push_back(Json::object({{"id", "multiple_choice"},
                               {"summary", "a task of your own: JSON lines {\"context\", \"choices\", \"answer\"}"},
                               {"output_type", "multiple_choice"}}));
  return list;
}

std::span<const Spec> runtime_settings() {
  static const std::vector<Spec> schema{
      {"tune", Spec::Type::choice, "off", 0, 0, {"off", "on"}, "choose kernels by measuring them on each shape, a few milliseconds when a model is made ready; no result changes"},
      {"mmap", Spec::Type::choice, "on", 0, 0, {"off", "on"}, "off: read the files opened from then on into memory instead of mapping them, so that nothing done to them later matters"},
  };
  return schema;
}

std::span<const Spec> quantizer_settings() {
  static const std::vector<Spec> schema = [] {
    std::vector<std::string_view> formats;
    for (const dialects::Dialect* dialect : dialects::dialects()) {
      if (dialect->can_write()) formats.push_back(dialect->id());
    }
    return std::vector<Spec>{
        {"seed", Spec::Type::integer, "0", 0, 9007199254740992.0, {}, "seed of every random choice"},
        {"lm_head", Spec::Type::boolean, "false", 0, 0, {}, "quantize the output projection as well"},
        {"calibration.windows", Spec::Type::integer, "128", 1, 65536, {}, "windows taken from the calibration text"},
        {"calibration.length", Spec::Type::integer, "512", 2, 65536, {}, "tokens in a window"},
        {"compute", Spec::Type::choice, "fast", 0, 0, {"exact", "fast"}, "of calibration; fast: bfloat16 where the processor has it"},
        {"calibration.self", Spec::Type::boolean, "true", 0, 0, {}, "without a text, the model writes its own"},
        {"resume", Spec::Type::boolean, "false", 0, 0, {}, "go on from the journal beside the output, and keep it on failure"},
        {"target_bpw", Spec::Type::real, "0", 0, 16, {}, "give out bits and groups by measured sensitivities to this size, bits a weight; 0: alike"},
        {"target_bytes", Spec::Type::integer, "0", 0, 9007199254740992.0, {}, "the same to a size of the whole file; 0: none"},
        {"target_kl", Spec::Type::real, "0", 0, 100, {}, "the same to a divergence: nats a token that rounding to nearest would add up to; 0: none"},
        {"measurement", Spec::Type::text, "", 0, 0, {}, "file of the measured sensitivities: read when it exists, else written"},
        {"rotation", Spec::Type::choice, "none", 0, 0, {"none", "hadamard"}, "rotate the residual stream first, folded into the weights"},
        {"format", Spec::Type::choice, "native", 0, 0, formats, "format of the output"},
    };
  }();
  return schema;
}

std::span<const Spec> export_settings() {
  static const std::vector<Spec> schema = {
      {"allow_lossy", Spec::Type::boolean, "false", 0, 0, {}, "quantize anew what the format cannot hold, instead of refusing"},
      {"verify", Spec::Type::boolean, "false", 0, 0, {}, "reopen the output and compare every tensor with the input's"},
      {"measured", Spec::Type::text, "", 0, 0, {}, "results of these weights for the model card: JSON of perplexity, compare, eval or sweep"},
  };
  return schema;
}

std::span<const Spec> evaluation_settings() {
  static const std::vector<Spec> schema = [] {
    std::vector<std::string_view> protocols;
    for (const eval::ProtocolSpec& each : eval::protocols()) protocols.push_back(each.id);
    return std::vector<Spec>{
        {"protocol", Spec::Type::choice, "windows-512", 0, 0, protocols, "how a text is cut into scored windows"},
        {"windows", Spec::Type::integer, "0", 0, 1e9, {}, "take the first N windows; 0: all"},
        {"layers", Spec::Type::boolean, "false", 0, 0, {}, "compare: what each layer costs when it alone is the candidate's"},
        {"limit", Spec::Type::integer, "0", 0, 1e9, {}, "take the first N questions of each task; 0: all"},
        {"tasks", Spec::Type::text, "", 0, 0, {}, "benchmark tasks, groups or tags, commas between; * is a wild card"},
        {"data", Spec::Type::text, "data", 0, 0, {}, "folder that the tasks' files lie in"},
        {"num_fewshot", Spec::Type::integer, "-1", -1, 1000, {}, "examples shown before each question; -1: the task's own"},
        {"fewshot_seed", Spec::Type::integer, "1234", 0, 4294967295.0, {}, "seed that examples are drawn with"},
        {"batch", Spec::Type::integer, "8", 1, 4096, {}, "contexts scored and texts generated side by side"},
        {"seed", Spec::Type::integer, "0", 0, 9007199254740992.0, {}, "seed of sampled answers"},
        {"samples", Spec::Type::boolean, "false", 0, 0, {}, "keep every request and answer in the result"},
        {"sample_tokens", Spec::Type::boolean, "false", 0, 0, {}, "and the token ids of each request"},
        {"verdicts", Spec::Type::text, "", 0, 0, {}, "a judge's verdicts, JSON lines {\"task\", \"doc_id\", \"score\"}: judge_score"},
        {"cache", Spec::Type::text, "", 0, 0, {}, "SQLite file that keeps answers: a killed run goes on where it was"},
        {"apply_chat_template", Spec::Type::boolean, "false", 0, 0, {}, "put questions into the model's chat template"},
        {"fewshot_as_multiturn", Spec::Type::boolean, "false", 0, 0, {}, "examples as turns of the conversation, not in one message"},
        {"system_instruction", Spec::Type::text, "", 0, 0, {}, "system message, or the first text without a chat template"},
        {"run_unsafe_code", Spec::Type::boolean, "false", 0, 0, {}, "tasks may run, in a sandbox, programs that the model wrote"},
        {"skip_missing", Spec::Type::boolean, "false", 0, 0, {}, "leave out tasks whose files are not in the data folder"},
        {"bootstrap", Spec::Type::integer, "100000", 0, 1e7, {}, "bootstrap samples of standard errors; 0: none"},
        {"margin", Spec::Type::real, "0.01", 0, 1, {}, "how much worse still counts as not inferior"},
        {"max_gen_toks", Spec::Type::integer, "0", 0, 1e6, {}, "tokens of a generated answer at most; 0: the task's own"},
        {"speed.prompt", Spec::Type::integer, "128", 1, 1e6, {}, "tokens of the prompt when measuring prefill"},
        {"speed.gen", Spec::Type::integer, "32", 1, 1e6, {}, "tokens generated when measuring decode"},
        {"speed.depth", Spec::Type::integer, "0", 0, 1e6, {}, "tokens already in the context"},
        {"speed.reps", Spec::Type::integer, "3", 1, 1000, {}, "repetitions; medians are reported"},
        {"speed.batch", Spec::Type::integer, "1", 1, 4096, {}, "sequences decoded together, measured too when above 1"},
        {"speed.contexts", Spec::Type::text, "", 0, 0, {}, "also measure at these contexts, numbers with commas between"},
        {"speed.batches", Spec::Type::text, "", 0, 0, {}, "and with these batches, numbers with commas between"},
        {"speed.powercap", Spec::Type::text, "/sys/class/powercap", 0, 0, {}, "where the system tells the energy used; empty: not asked"},
        {"speed.profile", Spec::Type::boolean, "false", 0, 0, {}, "also say what each operation takes"},
        {"speed.bandwidth", Spec::Type::boolean, "false", 0, 0, {}, "also decode's share of the memory's bandwidth, read in turns"},
    };
  }();
  return schema;
}

}  // namespace nbl::capi

using namespace nbl::capi;

extern "C" {

const char* nbl_methods_json(void) { return text_of<methods_catalog>(); }
const char* nbl_dialects_json(void) { return text_of<dialects_catalog>(); }
const char* nbl_architectures_json(void) { return text_of<architectures_catalog>(); }
const char* nbl_isas_json(void) { return text_of<isas_catalog>(); }
const char* nbl_protocols_json(void) { return text_of<protocols_catalog>(); }
const char* nbl_tasks_json(void) { return text_of<tasks_catalog>(); }
const char* nbl_runtime_settings_json(void) { return text_of<runtime_settings_catalog>(); }
const char* nbl_quantizer_settings_json(void) { return text_of<quantizer_settings_catalog>(); }
const char* nbl_evaluation_settings_json(void) { return text_of<evaluation_settings_catalog>(); }
const char* nbl_generation_settings_json(void) { return text_of<generation_settings_catalog>(); }
const char* nbl_sampler_settings_json(void) { return text_of<sampler_settings_catalog>(); }
const char* nbl_export_settings_json(void) { return text_of<export_settings_catalog>(); }

const char* nbl_limits_json(void) { return text_of<limits_catalog>(); }

nbl_status nbl_limit_set(const char* name, int64_t value) {
  return guard([&]() -> nbl::Status {
    NBL_TRY(require(name, "name"));
    return nbl::set_bound(name, value);
  });
}

int64_t nbl_limit_get(const char* name) {
  if (name == nullptr) return 0;
  const auto all = nbl::all_bounds();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (std::string_view(all[i].name) == name) return nbl::bound(static_cast<nbl::Bound>(i));
  }
  return 0;
}

}  // extern "C"
