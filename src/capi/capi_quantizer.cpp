// The quantizer: collects recipe, settings and calibration, then runs the pipeline's job.
#include <fmt/format.h>

#include <algorithm>

#include "capi/catalog.h"
#include "capi/handles.h"
#include "model/arch.h"
#include "pipeline/allocation.h"
#include "pipeline/rotation.h"

namespace nbl::capi {
namespace {

using quant::Options;

/// "gptq:bits=3,group_size=64" of the options that were given.
std::string recipe_text(const nbl_quantizer& q) {
  std::string text = q.method;
  char separator = ':';
  for (const auto& [name, value] : q.options) {
    text += fmt::format("{}{}={}", separator, name, value);
    separator = ',';
  }
  return text;
}

Status set(nbl_quantizer* q, const std::string& name, const std::string& value) {
  const std::size_t dot = name.find('.');
  const std::string prefix = dot == std::string::npos ? std::string() : name.substr(0, dot);
  for (const quant::Method* method : quant::methods()) {
    if (method->id() != prefix) continue;
    if (prefix != q->method) {
      return {Code::invalid_argument,
              fmt::format("{} is an option of {}, but the recipe's method is {}", name, prefix, q->method)};
    }
    auto options = q->options;
    options[name.substr(dot + 1)] = value;
    NBL_ASSIGN(const Options checked, Options::create(method->options(), options, method->id()));
    (void)checked;  // how options go together is checked when the job runs, so that they may be set in any order
    q->options = std::move(options);
    return {};
  }
  auto settings = q->settings;
  settings[name] = value;
  NBL_ASSIGN(const Options checked, Options::create(quantizer_settings(), settings, "quantizer"));
  (void)checked;
  q->settings = std::move(settings);
  return {};
}

Result<bool> needs_calibration(const pipeline::QuantizeOptions& options) {
  if (options.recipe.method->needs(options.recipe.options) != quant::kNeedNone) return true;
  for (const auto& [pattern, text] : options.overrides) {
    if (text.empty()) continue;
    NBL_ASSIGN(const quant::Recipe recipe, quant::parse_recipe(text));
    if (recipe.method->needs(recipe.options) != quant::kNeedNone) return true;
  }
  return false;
}

struct CalibrationShape {
  int64_t windows = 0, length = 0;
};

/// As the settings say, but for models of fewer positions than a window is long: as many tokens in shorter windows.
Result<CalibrationShape> calibration_shape(const Options& settings, const Checkpoint& input) {
  CalibrationShape shape{settings.integer("calibration.windows"), settings.integer("calibration.length")};
  NBL_ASSIGN(const model::Architecture* arch, model::find_architecture(input.config(), input.origin()));
  NBL_ASSIGN(const model::Config config, arch->read_config(input.config(), input.origin()));
  if (config.max_positions < 2 || config.max_positions >= shape.length) return shape;
  shape.windows = std::max<int64_t>(1, shape.windows * shape.length / config.max_positions);
  shape.length = config.max_positions;
  return shape;
}

Status run(nbl_quantizer* q, const Checkpoint& original, const Json& measured, const char* output, Json* out) {
  NBL_ASSIGN(const Options settings, Options::create(quantizer_settings(), q->settings, "quantizer"));
  std::unique_ptr<Checkpoint> rotated;
  if (settings.text("rotation") == "hadamard") {
    NBL_ASSIGN(rotated, pipeline::rotate_checkpoint(original, static_cast<uint64_t>(settings.integer("seed")), q->runtime->team));
  }
  const Checkpoint& input = rotated ? *rotated : original;
  pipeline::QuantizeOptions options;
  NBL_ASSIGN(options.recipe, quant::parse_recipe(recipe_text(*q)));
  options.overrides = q->overrides;
  if (rotated) options.rotation = "hadamard";
  options.include_lm_head = settings.boolean("lm_head");
  options.seed = static_cast<uint64_t>(settings.integer("seed"));
  options.format = settings.text("format");
  options.version = nbl_version();
  options.measured = measured;
  options.compute = settings.text("compute") == "exact" ? Compute::exact : Compute::fast;
  Monitor monitor(q->runtime, q->progress, q->progress_user);
  const pipeline::SizeTarget target{settings.real("target_bpw"), settings.integer("target_bytes"), settings.real("target_kl")};
  const int targets = (target.bits > 0) + (target.bytes > 0) + (target.kl > 0);
  if (targets > 1) return {Code::invalid_argument, "target_bpw, target_bytes and target_kl were given together; one was expected"};
  NBL_ASSIGN(const bool calibrated, needs_calibration(options));
  const bool wanted = calibrated || targets > 0;
  if (!q->calibration.ids.empty()) {
    options.calibration = q->calibration;
  } else if (q->has_text && wanted) {
    NBL_ASSIGN(const auto tokenizer, pipeline::load_tokenizer(input));
    NBL_ASSIGN(const CalibrationShape shape, calibration_shape(settings, input));
    NBL_ASSIGN(options.calibration,
               pipeline::make_calibration(*tokenizer, q->calibration_text, q->calibration_source, shape.windows, shape.length));
  } else if (settings.boolean("calibration.self")) {
    if (wanted) {
      NBL_ASSIGN(const CalibrationShape shape, calibration_shape(settings, input));
      auto written = pipeline::write_calibration(input, shape.windows, shape.length, options.seed, options.compute, q->runtime->team,
                                                 monitor.fn());
      NBL_TRY(monitor.outcome(written.status()));
      options.calibration = std::move(written).value();
    }
  }
  if (targets > 0) {
    const Status status = pipeline::allocate_to_target(input, target, settings.text("measurement"), q->runtime->team, monitor.fn(), &options);
    NBL_TRY(monitor.outcome(status));
  }
  options.resume = settings.boolean("resume");
  options.max_memory_bytes = q->runtime->max_memory_bytes;
  options.log = [&](const std::string& message) { q->runtime->note(message); };
  auto report = pipeline::quantize(input, output, options, q->runtime->team, monitor.fn());
  NBL_TRY(monitor.outcome(report.status()));
  Json j = result_header(*q->runtime);
  const Json body = pipeline::to_json(*report);
  for (const auto& [name, value] : body.members()) j.set(name, value);
  for (const auto& layer : report->layers) {
    for (const std::string& note : layer.notes) q->runtime->warn(layer.name + ": " + note);
  }
  *out = std::move(j);
  return {};
}

}  // namespace
}  // namespace nbl::capi

using nbl::Code;
using nbl::Json;
using nbl::Status;
using namespace nbl::capi;

extern "C" {

nbl_status nbl_quantizer_create(nbl_runtime* runtime, const char* recipe, nbl_quantizer** out_quantizer) {
  if (out_quantizer != nullptr) *out_quantizer = nullptr;
  return guard(runtime, [&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(recipe, "recipe"));
    NBL_TRY(require(out_quantizer, "out_quantizer"));
    NBL_ASSIGN(const nbl::quant::Recipe parsed, nbl::quant::parse_recipe(recipe));
    auto q = std::make_unique<nbl_quantizer>();
    q->runtime = runtime->state;
    q->method = parsed.method->id();
    // parsed.text has the given options in full names: "method:a=1,b=2".
    const std::string& text = parsed.text;
    std::size_t at = text.find(':');
    while (at != std::string::npos) {
      const std::size_t end = text.find(',', at + 1);
      const std::string pair = text.substr(at + 1, end == std::string::npos ? end : end - at - 1);
      const std::size_t equals = pair.find('=');
      q->options[pair.substr(0, equals)] = pair.substr(equals + 1);
      at = end;
    }
    *out_quantizer = q.release();
    return {};
  });
}

void nbl_quantizer_destroy(nbl_quantizer* quantizer) { delete quantizer; }

nbl_status nbl_quantizer_set(nbl_quantizer* quantizer, const char* name, const char* value) {
  return guard(quantizer, [&]() -> Status {
    NBL_TRY(require(quantizer, "quantizer"));
    NBL_TRY(require(name, "name"));
    NBL_TRY(require(value, "value"));
    BusyLock lock(quantizer->busy);
    NBL_TRY(lock.status("quantizer"));
    return set(quantizer, name, value);
  });
}

nbl_status nbl_quantizer_add_override(nbl_quantizer* quantizer, const char* regex, const char* recipe) {
  return guard(quantizer, [&]() -> Status {
    NBL_TRY(require(quantizer, "quantizer"));
    NBL_TRY(require(regex, "regex"));
    NBL_TRY(require(recipe, "recipe"));
    BusyLock lock(quantizer->busy);
    NBL_TRY(lock.status("quantizer"));
    if (*recipe != '\0') {
      NBL_ASSIGN(const nbl::quant::Recipe parsed, nbl::quant::parse_recipe(recipe));
      (void)parsed;
    }
    quantizer->overrides.emplace_back(regex, recipe);
    return {};
  });
}

nbl_status nbl_quantizer_set_calibration_text(nbl_quantizer* quantizer, const char* text, size_t size,
                                              const char* source) {
  return guard(quantizer, [&]() -> Status {
    NBL_TRY(require(quantizer, "quantizer"));
    NBL_TRY(require(text, "text"));
    BusyLock lock(quantizer->busy);
    NBL_TRY(lock.status("quantizer"));
    quantizer->calibration_text.assign(text, size);
    quantizer->calibration_source = source == nullptr ? "memory" : source;
    quantizer->calibration = {};
    quantizer->has_text = true;
    return {};
  });
}

nbl_status nbl_quantizer_set_calibration_ids(nbl_quantizer* quantizer, const int32_t* ids, int64_t windows,
                                             int64_t length, const char* source) {
  return guard(quantizer, [&]() -> Status {
    NBL_TRY(require(quantizer, "quantizer"));
    NBL_TRY(require(ids, "ids"));
    if (windows < 1 || length < 2 || windows > (int64_t{1} << 31) / length) {
      return {Code::invalid_argument,
              fmt::format("{} windows of {} ids; at least 1 of 2 was expected, and at most 2^31 ids", windows, length)};
    }
    BusyLock lock(quantizer->busy);
    NBL_TRY(lock.status("quantizer"));
    nbl::pipeline::Calibration calibration;
    calibration.ids.assign(ids, ids + windows * length);
    calibration.windows = windows;
    calibration.length = length;
    calibration.source = source == nullptr ? "memory" : source;
    quantizer->calibration = std::move(calibration);
    quantizer->calibration_text.clear();
    quantizer->has_text = false;
    return {};
  });
}

nbl_status nbl_quantizer_set_progress(nbl_quantizer* quantizer, nbl_progress_fn progress, void* user) {
  return guard(quantizer, [&]() -> Status {
    NBL_TRY(require(quantizer, "quantizer"));
    BusyLock lock(quantizer->busy);
    NBL_TRY(lock.status("quantizer"));
    quantizer->progress = progress;
    quantizer->progress_user = user;
    return {};
  });
}

nbl_status nbl_quantizer_run(nbl_quantizer* quantizer, nbl_checkpoint* input, const char* output_path,
                             nbl_buffer** out_report) {
  if (out_report != nullptr) *out_report = nullptr;
  return guard(quantizer, [&]() -> Status {
    NBL_TRY(require(quantizer, "quantizer"));
    NBL_TRY(require(input, "input"));
    NBL_TRY(require(output_path, "output_path"));
    BusyLock lock(quantizer->busy);
    NBL_TRY(lock.status("quantizer"));
    Json report;
    NBL_TRY(run(quantizer, *input->checkpoint, input->measured, output_path, &report));
    if (out_report != nullptr) *out_report = make_json_buffer(report);
    return {};
  });
}

}  // extern "C"
