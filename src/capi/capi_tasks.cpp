// Evaluations: benchmark tasks.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory_files.h"
#include "capi/catalog.h"
#include "capi/evaluation_tasks.h"
#include "eval/answer_cache.h"
#include "eval/evaluate.h"
#include "text/assets.h"

namespace nbl::capi {
namespace {

using quant::Options;

eval::EvaluateOptions options_of(const nbl_evaluation& e, const Options& settings) {
  eval::EvaluateOptions o;
  o.data = settings.text("data");
  o.limit = settings.integer("limit");
  o.num_fewshot = settings.integer("num_fewshot");
  o.fewshot_seed = static_cast<uint64_t>(settings.integer("fewshot_seed"));
  o.bootstrap_iterations = settings.integer("bootstrap");
  o.samples = settings.boolean("samples") || settings.boolean("sample_tokens");
  o.sample_tokens = settings.boolean("sample_tokens");
  o.run_code = settings.boolean("run_unsafe_code");
  o.skip_missing = settings.boolean("skip_missing");
  o.batch = settings.integer("batch");
  o.seed = static_cast<uint64_t>(settings.integer("seed"));
  o.margin = settings.real("margin");
  o.max_tokens = settings.integer("max_gen_toks");
  o.own_tasks = e.tasks;
  o.verdicts = settings.text("verdicts");
  o.prompt.system_instruction = settings.text("system_instruction");
  o.prompt.fewshot_as_multiturn = settings.boolean("fewshot_as_multiturn");
  return o;
}

/// The model's own chat template over messages.
Result<eval::ChatRenderer> renderer_of(const Checkpoint& checkpoint, const text::Tokenizer* tokenizer) {
  NBL_ASSIGN(const auto templates, text::load_chat_templates(text::assets_of(checkpoint), tokenizer));
  if (templates == nullptr || templates->empty()) {
    return Status(Code::not_found, checkpoint.origin() + " carries no chat template; evaluate it without apply_chat_template");
  }
  return eval::ChatRenderer([templates](const std::vector<eval::ChatMessage>& messages, bool generation) -> Result<std::string> {
    const auto rendered = [&](bool with_system) {
      Json list = Json::array();
      for (const eval::ChatMessage& m : messages)
        if (with_system || m.role != "system") list.push_back(Json::object({{"role", m.role}, {"content", m.content}}));
      return templates->apply(list, Json(), Json::object({{"add_generation_prompt", generation}, {"continue_final_message", !generation}}));
    };
    auto text = rendered(true);
    // As the harness does for templates that know no system message.
    return text.ok() || messages.front().role != "system" ? std::move(text) : rendered(false);
  });
}

/// The model's files, hashed by name and content; its weights when it came from no file.
Result<std::string> model_sha256(const Checkpoint& checkpoint) {
  namespace fs = std::filesystem;
  const fs::path origin = checkpoint.origin();
  std::vector<fs::path> files;
  if (directory_exists(origin)) {
    for (const std::string& name : directory_names(origin))
      if (file_exists(origin / name)) files.push_back(origin / name);
  } else if (file_exists(origin)) {
    files.push_back(origin);
  }
  std::sort(files.begin(), files.end());
  Sha256 hash;
  for (const fs::path& file : files) {
    const std::string name = file.filename().string() + "\n";
    hash.update(std::as_bytes(std::span(name.data(), name.size())));
    NBL_ASSIGN(const auto mapped, MappedFile::open(file));
    hash.update(mapped->bytes());
  }
  if (files.empty()) {
    for (const TensorInfo& info : checkpoint.tensors()) {
      NBL_ASSIGN(const Array array, checkpoint.array(info.name));
      hash.update(array.storage.bytes());
    }
  }
  return hash.finish_hex();
}

/// The tasks by name; without names, all of the caller's own.
Result<eval::Selection> selection_of(const std::string& names, const eval::EvaluateOptions& options) {
  std::string all;
  for (const eval::Task& task : options.own_tasks) all += (all.empty() ? "" : ",") + task.id;
  if (names.empty() && all.empty()) {
    return Status(Code::invalid_argument,
                  "no task was named: nbl_evaluation_set \"tasks\", or nbl_evaluation_add_task for one of your own");
  }
  return eval::select_tasks(names.empty() ? all : all.empty() ? names : all + "," + names, options);
}

/// Whether transformers' generate() would have an end-of-sequence token for this model: generation_config.json stands above
/// config.json even where it names none.
Result<bool> generation_has_end(const Checkpoint& checkpoint) {
  if (!checkpoint.has_asset("generation_config.json")) return true;
  NBL_ASSIGN(const std::string text, checkpoint.asset("generation_config.json"));
  NBL_ASSIGN(const Json json, Json::parse(text, checkpoint.origin() + ": generation_config.json"));
  const Json* eos = json.find_value("eos_token_id");
  return eos != nullptr && !eos->is_null();
}

}  // namespace

Result<Options> settings_of(const nbl_evaluation& e) {
  return Options::create(evaluation_settings(), e.settings, "evaluation");
}

Status need_models(const nbl_evaluation& e, std::size_t count, const char* what) {
  if (e.models.size() >= count) return {};
  return {Code::invalid_argument,
          fmt::format("{} needs at least {} model{}; {} {} been added", what, count, count == 1 ? "" : "s",
                      e.models.size(), e.models.size() == 1 ? "has" : "have")};
}

Status run_evaluation_tasks(nbl_evaluation* e, Json* out) {
  NBL_TRY(need_models(*e, 1, "an evaluation of tasks"));
  NBL_ASSIGN(const Options settings, settings_of(*e));
  eval::EvaluateOptions options = options_of(*e, settings);
  std::unique_ptr<eval::AnswerCache> cache;
  if (!settings.text("cache").empty()) {
    NBL_ASSIGN(cache, eval::AnswerCache::open(settings.text("cache")));
  }
  options.cache = cache.get();
  NBL_ASSIGN(const eval::Selection selection, selection_of(settings.text("tasks"), options));
  Monitor monitor(e->runtime, e->progress, e->progress_user);
  std::vector<eval::ModelRun> runs;
  std::vector<std::string> hashes;
  for (std::size_t m = 0; m < e->models.size(); ++m) {
    if (settings.boolean("apply_chat_template")) {
      NBL_ASSIGN(options.prompt.chat, renderer_of(*e->checkpoints[m], e->models[m]->tokenizer()));
    }
    NBL_ASSIGN(options.beams_know_end, generation_has_end(*e->checkpoints[m]));
    NBL_ASSIGN(const std::string hash, model_sha256(*e->checkpoints[m]));
    hashes.push_back(hash);
    const ComputeOptions& compute = e->models[m]->compute();
    options.identity = fmt::format("{} {} {} {}", hash, compute_name(compute.compute), isa_name(compute.isa), nbl_version());
    options.model_name = e->names[m];
    auto run = eval::run_tasks(e->models[m], e->names[m], e->runtime->team, selection, options, monitor.fn());
    NBL_TRY(monitor.outcome(run.status()));
    runs.push_back(std::move(run).value());
  }

  Json j = result_header(*e->runtime);
  j.set("model", e->names[0]);
  j.set("model_name", e->names[0]);
  j.set("model_source", "nibble");
  j.set("model_sha256", hashes[0]);
  Json models = Json::array();
  for (const eval::ModelRun& run : runs) {
    const Json results = eval::results_json(run);
    if (&run == &runs.front()) {
      for (const auto& [key, value] : results.members()) {
        if (key != "samples" || runs.size() == 1) j.set(key, value);
      }
    }
    Json row = Json::object({{"name", run.name}, {"model_sha256", hashes[static_cast<std::size_t>(&run - runs.data())]}});
    for (const auto& [key, value] : results.members()) {
      if (key == "results" || key == "groups" || key == "n-samples" || (key == "samples" && runs.size() > 1))
        row.set(key, value);
    }
    models.push_back(std::move(row));
  }
  j.set("models", std::move(models));
  j.set("paired", eval::paired_json(runs, options.margin));
  Json skipped = Json::array();
  for (const auto& [task, why] : runs.front().skipped)
    skipped.push_back(Json::object({{"task", task}, {"reason", why}}));
  j.set("skipped", std::move(skipped));
  j.set("config", Json::object({{"limit", options.limit},
                                {"num_fewshot", options.num_fewshot},
                                {"fewshot_seed", static_cast<int64_t>(options.fewshot_seed)},
                                {"bootstrap_iters", options.bootstrap_iterations},
                                {"batch_size", options.batch},
                                {"apply_chat_template", settings.boolean("apply_chat_template")},
                                {"fewshot_as_multiturn", options.prompt.fewshot_as_multiturn},
                                {"system_instruction", options.prompt.system_instruction},
                                {"seed", static_cast<int64_t>(options.seed)},
                                {"compute", compute_name(e->models[0]->compute().compute)},
                                {"isa", isa_name(e->runtime->isa)}}));
  *out = std::move(j);
  return {};
}

}  // namespace nbl::capi
