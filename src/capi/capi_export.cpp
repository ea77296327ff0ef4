// Exports: checkpoints written for other programs.
#include <fmt/format.h>

#include "capi/catalog.h"
#include "capi/handles.h"
#include "dialects/dialects.h"
#include "pipeline/convert.h"

struct nbl_export {
  nbl::capi::RuntimePtr runtime;
  std::string format;
  std::map<std::string, std::string> settings;  ///< of nbl_export_settings_json, checked
  nbl_progress_fn progress = nullptr;
  void* progress_user = nullptr;
  std::atomic<bool> busy{false};
};

namespace nbl::capi {
namespace {

Result<Json> parse_measured(const std::string& text) {
  if (text.empty()) return Json();
  NBL_ASSIGN(Json results, Json::parse(text, "measured results"));
  if (!results.is_object() && !results.is_array())
    return Status(Code::invalid_argument, "measured results are neither an object nor an array of objects");
  return results;
}

Status run(const pipeline::ConvertOptions& options, const nbl_checkpoint& input, const char* output, nbl_progress_fn progress,
           void* user, int32_t* out_ok, nbl_buffer** out_json) {
  Monitor monitor(input.runtime, progress, user);
  const auto report = pipeline::convert(*input.checkpoint, output, options, input.runtime->team, monitor.fn());
  NBL_TRY(monitor.outcome(report.status()));
  Json j = result_header(*input.runtime);
  const Json body = pipeline::to_json(*report);
  for (const auto& [name, value] : body.members()) j.set(name, value);
  if (out_json != nullptr) *out_json = make_json_buffer(j);
  *out_ok = report->written && report->differences.empty() ? 1 : 0;
  return {};
}

}  // namespace
}  // namespace nbl::capi

using nbl::Code;
using nbl::Json;
using nbl::Status;
using nbl::quant::Options;
using namespace nbl::capi;

extern "C" {

nbl_status nbl_export_create(nbl_runtime* runtime, const char* format, nbl_export** out_export) {
  if (out_export != nullptr) *out_export = nullptr;
  return guard(runtime, [&]() -> Status {
    NBL_TRY(require(runtime, "runtime"));
    NBL_TRY(require(out_export, "out_export"));
    const std::string id = format == nullptr || *format == '\0' ? "native" : format;
    std::string known;
    for (const nbl::dialects::Dialect* dialect : nbl::dialects::dialects()) {
      if (!dialect->can_write()) continue;
      known += (known.empty() ? "" : ", ") + std::string(dialect->id());
      if (dialect->id() != id) continue;
      auto made = std::make_unique<nbl_export>();
      made->runtime = runtime->state;
      made->format = id;
      *out_export = made.release();
      return {};
    }
    return {Code::invalid_argument, fmt::format("format is \"{}\"; one that writes was expected: {}", id, known)};
  });
}

void nbl_export_destroy(nbl_export* job) { delete job; }

nbl_status nbl_export_set(nbl_export* job, const char* name, const char* value) {
  return guard(job, [&]() -> Status {
    NBL_TRY(require(job, "job"));
    NBL_TRY(require(name, "name"));
    NBL_TRY(require(value, "value"));
    BusyLock lock(job->busy);
    NBL_TRY(lock.status("export"));
    auto settings = job->settings;
    settings[name] = value;
    if (*value == '\0') {
      for (const nbl::quant::OptionSpec& spec : export_settings())
        if (spec.name == name) settings[name] = spec.fallback;
    }
    NBL_TRY(Options::create(export_settings(), settings, "export").status());
    if (std::string_view(name) == "measured") NBL_TRY(parse_measured(value).status());
    job->settings = std::move(settings);
    return {};
  });
}

nbl_status nbl_export_set_progress(nbl_export* job, nbl_progress_fn progress, void* user) {
  return guard(job, [&]() -> Status {
    NBL_TRY(require(job, "job"));
    BusyLock lock(job->busy);
    NBL_TRY(lock.status("export"));
    job->progress = progress;
    job->progress_user = user;
    return {};
  });
}

nbl_status nbl_export_run(nbl_export* job, nbl_checkpoint* input, const char* output_path, int32_t* out_ok,
                          nbl_buffer** out_report) {
  if (out_ok != nullptr) *out_ok = 0;
  if (out_report != nullptr) *out_report = nullptr;
  return guard(job, [&]() -> Status {
    NBL_TRY(require(job, "job"));
    NBL_TRY(require(input, "input"));
    NBL_TRY(require(output_path, "output_path"));
    NBL_TRY(require(out_ok, "out_ok"));
    BusyLock lock(job->busy);
    NBL_TRY(lock.status("export"));
    NBL_ASSIGN(const Options settings, Options::create(export_settings(), job->settings, "export"));
    nbl::pipeline::ConvertOptions options;
    options.format = job->format;
    options.allow_lossy = settings.boolean("allow_lossy");
    options.verify = settings.boolean("verify");
    options.version = nbl_version();
    NBL_ASSIGN(options.measured, parse_measured(settings.text("measured")));
    if (options.measured.is_null()) options.measured = input->measured;
    return run(options, *input, output_path, job->progress, job->progress_user, out_ok, out_report);
  });
}

nbl_status nbl_checkpoint_set_measured(nbl_checkpoint* checkpoint, const char* results_json) {
  return guard([&]() -> Status {
    NBL_TRY(require(checkpoint, "checkpoint"));
    checkpoint->measured = Json();
    NBL_ASSIGN(checkpoint->measured, parse_measured(results_json == nullptr ? "" : results_json));
    return {};
  });
}

nbl_status nbl_checkpoint_convert(nbl_checkpoint* checkpoint, const char* output_path, const char* format,
                                  uint32_t flags, nbl_progress_fn progress, void* progress_user, int32_t* out_ok,
                                  nbl_buffer** out_json) {
  if (out_ok != nullptr) *out_ok = 0;
  if (out_json != nullptr) *out_json = nullptr;
  return guard(checkpoint, [&]() -> Status {
    NBL_TRY(require(checkpoint, "checkpoint"));
    NBL_TRY(require(output_path, "output_path"));
    NBL_TRY(require(out_ok, "out_ok"));
    if ((flags & ~static_cast<uint32_t>(NBL_CONVERT_ALLOW_LOSSY | NBL_CONVERT_VERIFY)) != 0) {
      return {Code::invalid_argument, fmt::format("flags is {}; NBL_CONVERT_* was expected", flags)};
    }
    nbl::pipeline::ConvertOptions options;
    if (format != nullptr && *format != '\0') options.format = format;
    options.allow_lossy = (flags & NBL_CONVERT_ALLOW_LOSSY) != 0;
    options.verify = (flags & NBL_CONVERT_VERIFY) != 0;
    options.version = nbl_version();
    options.measured = checkpoint->measured;
    return run(options, *checkpoint, output_path, progress, progress_user, out_ok, out_json);
  });
}

}  // extern "C"
