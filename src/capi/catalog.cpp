#include "capi/catalog.h"

#include <limits>

#include "base/cpu.h"
#include "dialects/dialects.h"
#include "eval/eval.h"
#include "model/arch.h"
#include "model/generation_settings.h"
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
    if (spec.type == Spec::Type::choice) {
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
Json generation_settings_catalog() { return schema_json(model::generation_settings()); }
Json evaluation_settings_catalog() { return schema_json(evaluation_settings()); }

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
  list.push_back(
      Json::object({{"id", "multiple_choice"},
                    {"summary", "JSON lines {\"context\", \"choices\", \"answer\"}: the likeliest choice is taken"}}));
  return list;
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
        {"format", Spec::Type::choice, "native", 0, 0, formats, "format of the output"},
    };
  }();
  return schema;
}

std::span<const Spec> evaluation_settings() {
  static const std::vector<Spec> schema = [] {
    std::vector<std::string_view> protocols;
    for (const eval::ProtocolSpec& each : eval::protocols()) protocols.push_back(each.id);
    return std::vector<Spec>{
        {"protocol", Spec::Type::choice, "windows-512", 0, 0, protocols, "how a text is cut into scored windows"},
        {"windows", Spec::Type::integer, "0", 0, 1e9, {}, "take the first N windows; 0: all"},
        {"limit", Spec::Type::integer, "0", 0, 1e9, {}, "take the first N questions of each task; 0: all"},
        {"speed.prompt", Spec::Type::integer, "128", 1, 1e6, {}, "tokens of the prompt when measuring prefill"},
        {"speed.gen", Spec::Type::integer, "32", 1, 1e6, {}, "tokens generated when measuring decode"},
        {"speed.depth", Spec::Type::integer, "0", 0, 1e6, {}, "tokens already in the context"},
        {"speed.reps", Spec::Type::integer, "3", 1, 1000, {}, "repetitions; medians are reported"},
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
const char* nbl_quantizer_settings_json(void) { return text_of<quantizer_settings_catalog>(); }
const char* nbl_evaluation_settings_json(void) { return text_of<evaluation_settings_catalog>(); }
const char* nbl_generation_settings_json(void) { return text_of<generation_settings_catalog>(); }

}  // extern "C"
