// nibble quantize
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "cli/cli.h"
#include "cli/json_text.h"
#include "cli/quantize_job.h"
#include "cli/table.h"

namespace nibble::cli {

bool method_has_option(const std::string& method, const std::string& option) {
  const Doc doc(nbl_methods_json());
  for (const auto m : elements(doc.root())) {
    if (text(m, "id") != method) continue;
    for (const auto o : items(m, "options")) {
      if (text(o, "name") == option) return true;
    }
  }
  return false;
}

bool method_needs_calibration(const std::string& method) {
  const Doc doc(nbl_methods_json());
  for (const auto m : elements(doc.root())) {
    if (text(m, "id") == method) return flag(m, "uses_calibration");
  }
  return false;
}

std::string method_defaults(const std::string& method) {
  std::string defaults;
  const Doc doc(nbl_methods_json());
  for (const auto m : elements(doc.root())) {
    if (text(m, "id") != method) continue;
    for (const auto option : items(m, "options")) {
      if (!defaults.empty()) defaults += ",";
      defaults += text(option, "name") + "=" + raw(option, "default");
    }
  }
  return defaults;
}

std::string method_of(const std::string& recipe) { return recipe.substr(0, recipe.find(':')); }

namespace {

/// One JSON object a line, each written out at once: what was logged survives a kill.
class EventLog {
 public:
  explicit EventLog(const std::string& path) : path_(path), file_(std::fopen(path.c_str(), "w")) {
    if (file_ == nullptr) throw Failure(kBadInput, fmt::format("cannot write the log '{}': {}", path, std::strerror(errno)));
  }
  ~EventLog() { std::fclose(file_); }
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;
  ObjectText event(const char* name) const {
    ObjectText text;
    text.set("event", name);
    text.set("seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count());
    return text;
  }
  /// The first event that cannot be written stops the job before it costs anything; a later one is told once, and the job goes on.
  void write(const ObjectText& event) {
    const std::string line = event.text() + "\n";
    if (std::fwrite(line.data(), 1, line.size(), file_) == line.size() && std::fflush(file_) == 0) {
      written_ = true;
      return;
    }
    const int error = errno;
    std::clearerr(file_);
    const std::string message = fmt::format("cannot write the log '{}': {}", path_, std::strerror(error));
    if (!written_) throw Failure(error == ENOSPC || error == EDQUOT || error == EFBIG ? kLimit : kBadInput, message);
    if (!std::exchange(told_, true)) fmt::print(stderr, "warning: {}; it is incomplete\n", message);
  }

 private:
  std::string path_;
  std::FILE* file_;
  bool written_ = false, told_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

std::string run_quantize_job(const Global& global, const Runtime& runtime, const Checkpoint& input,
                             const QuantizeJob& job, const std::string& output) {
  Quantizer quantizer(runtime, job.recipe);
  quantizer.set("seed", fmt::format("{}", global.seed));
  quantizer.set("compute", global.compute);
  for (const auto& [name, value] : job.settings) quantizer.set(name, value);
  for (const auto& [regex, recipe] : job.overrides) quantizer.add_override(regex, recipe);
  const auto needs = [&](const auto& each) { return method_needs_calibration(method_of(each.second)); };
  const bool allocated = std::any_of(job.settings.begin(), job.settings.end(),
                                     [](const auto& setting) { return setting.first.starts_with("target_"); });
  if (allocated || method_needs_calibration(method_of(job.recipe)) ||
      std::any_of(job.overrides.begin(), job.overrides.end(), needs)) {
    if (job.calibration != "self") {
      const std::string file = resolve_data(job.calibration, "calibration.txt");
      const std::string calibration = read_file(file);
      if (calibration.empty()) throw Failure(kBadInput, fmt::format("the calibration text '{}' is empty", file));
      quantizer.set_calibration_text(calibration, job.calibration == "builtin" ? "builtin" : file);
    }
    // What --set says of the windows' shape comes before; fewer tokens than a window are one shorter window.
    const auto set = [&](std::string_view name) {
      return std::find_if(job.settings.begin(), job.settings.end(), [&](const auto& setting) { return setting.first == name; });
    };
    int64_t length = std::clamp<int64_t>(job.calibration_tokens, 2, job.calibration_length);
    if (const auto own = set("calibration.length"); own != job.settings.end()) {
      length = std::max<int64_t>(1, std::strtoll(own->second.c_str(), nullptr, 10));  // set above, which checked it
    } else {
      quantizer.set("calibration.length", fmt::format("{}", length));
    }
    if (set("calibration.windows") == job.settings.end())
      quantizer.set("calibration.windows", fmt::format("{}", std::max<int64_t>(1, job.calibration_tokens / length)));
  }
  if (job.log.empty()) {
    quantizer.set_progress(make_progress(global));
    return quantizer.run(input, output);
  }
  const auto log = std::make_shared<EventLog>(job.log);
  log->write(log->event("begin").set("recipe", job.recipe).set("output", output));
  quantizer.set_progress([log, show = make_progress(global)](const Progress& p) {
    log->write(log->event("progress")
                   .set("stage", p.stage)
                   .set("detail", p.detail)
                   .set("done", p.done)
                   .set("total", p.total)
                   .set("memory_bytes", p.memory_bytes));
    return show(p);
  });
  try {
    std::string report = quantizer.run(input, output);
    const Doc doc(report);
    for (const auto layer : items(doc.root(), "layers")) {
      ObjectText event = log->event("layer");
      for (const char* key : {"name", "encoding", "bits", "error", "notes"}) event.set_raw(key, raw(layer, key));
      log->write(event);
    }
    ObjectText event = log->event("done");
    for (const char* key : {"bits_per_weight", "file_bytes", "peak_rss_bytes", "memory_plan", "output_sha256"})
      event.set_raw(key, raw(doc.root(), key));
    log->write(event);
    return report;
  } catch (const std::exception& e) {
    log->write(log->event("failed").set("message", e.what()));
    throw;
  }
}

namespace {

struct Args {
  std::string model, output, calib = "self", format, log;
  std::string method;
  int64_t bits = 0, group_size = 0, calib_tokens = 0;
  std::vector<std::string> lora, sets, overrides;
  bool lm_head = false, resume = false;
  double target_bpw = 0, target_kl = 0;
  int64_t target_size = 0;
  std::string measurement, measured;
};

int quantize(const Global& global, const Args& args) {
  QuantizeJob job;
  job.recipe = args.method;
  job.calibration = args.calib;
  // A text costs reading; what the model writes is generated token by token.
  job.calibration_tokens = args.calib_tokens > 0 ? args.calib_tokens : args.calib == "self" ? 16384 : 65536;
  job.log = args.log;
  double target = args.target_bpw;
  // "mixed" is the best of the methods that the format can hold, with bits and groups given out to a target.
  if (method_of(args.method) == "mixed") {
    job.recipe = (output_format(args.format, args.output) == "native" ? "trellis" : "gptq") + args.method.substr(5);
    if (target == 0) target = 4;
  }
  if (target > 0 && (args.target_size > 0 || args.target_kl > 0) && args.target_bpw == 0) target = 0;
  if (target > 0) job.settings.emplace_back("target_bpw", fmt::format("{}", target));
  if (args.target_size > 0) job.settings.emplace_back("target_bytes", fmt::format("{}", args.target_size));
  if (args.target_kl > 0) job.settings.emplace_back("target_kl", fmt::format("{}", args.target_kl));
  if (!args.measurement.empty()) job.settings.emplace_back("measurement", args.measurement);
  const std::string method = method_of(job.recipe);
  if (args.bits > 0) job.settings.emplace_back(method + ".bits", fmt::format("{}", args.bits));
  if (args.group_size != 0) {
    const bool block = !method_has_option(method, "group_size") && method_has_option(method, "block_size");
    job.settings.emplace_back(method + (block ? ".block_size" : ".group_size"), fmt::format("{}", args.group_size));
  }
  for (const std::string& each : args.sets) job.settings.push_back(split_pair(each, "--set"));
  job.settings.emplace_back("format", output_format(args.format, args.output));
  if (args.resume) job.settings.emplace_back("resume", "true");
  if (args.lm_head) job.settings.emplace_back("lm_head", "true");
  for (const std::string& each : args.overrides) {
    // The regular expression may hold "=" itself, a recipe's options do too: cut at the "=" before the method's name.
    const std::size_t colon = each.find(':', each.find('='));
    const std::size_t equals = each.rfind('=', colon == std::string::npos ? each.size() : colon);
    if (equals == std::string::npos || equals == 0)
      throw Failure(kUsage, fmt::format("--overrides \"{}\": REGEX=RECIPE was expected", each));
    job.overrides.emplace_back(each.substr(0, equals), each.substr(equals + 1));
  }
  const Runtime runtime = global.make_runtime();
  Checkpoint input = global.open_checkpoint(runtime, args.model, args.lora);
  if (!args.measured.empty()) input.set_measured(read_file(args.measured));
  const std::string json = run_quantize_job(global, runtime, input, job, args.output);
  if (global.tables()) {
    const Doc doc(json);
    const auto& j = doc.root();
    if (global.verbose) {
      Table table({"layer", "encoding", "bits", "error", "seconds"});
      for (const auto layer : items(j, "layers")) {
        table.add({text(layer, "name"), text(layer, "encoding"), fmt::format("{:.3f}", number(layer, "bits")),
                   fmt::format("{:.3e}", number(layer, "error")), fmt::format("{:.2f}", number(layer, "seconds"))});
      }
      fmt::print("{}\n", table.text(global.markdown));
    }
    fmt::print("{}: {:.3f} bits per weight, {:.2f} MB, {:.1f} s, peak {} MB\n{}\n", text(j, "method"),
               number(j, "bits_per_weight"), static_cast<double>(integer(j, "file_bytes")) / 1e6, number(j, "seconds"),
               integer(j, "peak_rss_bytes") / 1000000, args.output);
  }
  emit_json(global, json);
  return kDone;
}

}  // namespace

void add_quantize(const Commands& c) {
  auto* command = c.app.add_subcommand("quantize", "quantize MODEL into a new file");
  auto args = std::make_shared<Args>();
  command->add_option("MODEL", args->model, "the original")->required();
  command->add_option("-o,--output", args->output, "the file to write")->required();
  command->add_option("--method", args->method, "method, or recipe: gptq, gptq:bits=4,group=128 (see `nibble info`)")
      ->required();
  command->add_option("--bits", args->bits, "bits a code")->check(CLI::Range(1, 16));
  command->add_option("--group-size", args->group_size, "weights that share a scale");
  command->add_option("--set", args->sets, "any option of a method: gptq.damp=0.01 (see `nibble info METHOD`)")
      ->type_name("METHOD.KEY=VALUE");
  command->add_option("--calib", args->calib, "calibration text: a file, builtin, or self: what the model itself writes")
      ->type_name("FILE|builtin|self")
      ->capture_default_str();
  command
      ->add_option("--calib-tokens", args->calib_tokens,
                   "tokens of it to use, in windows of 512 (default: 65536; 16384 of what the model writes)")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 31));
  command
      ->add_option("--overrides", args->overrides, "another recipe for tensors whose whole name matches; empty: keep")
      ->type_name("REGEX=RECIPE");
  command->add_option("--format", args->format, "format of the output (default: gguf for a name that ends so, else native)");
  command->add_option("--lora", args->lora, "DIR or DIR:SCALE of a LoRA adapter to merge first; may be repeated")
      ->allow_extra_args(false);
  command->add_flag("--resume", args->resume, "go on from the journal that a killed run of the same job left beside OUT");
  command->add_option("--log", args->log, "write events to this file, one JSON object a line")->type_name("FILE");
  command->add_option("--target-bpw", args->target_bpw, "give out bits and groups by measured sensitivities to this size")
      ->check(CLI::Range(1.0, 16.0))->check(check_is_number);
  command->add_option("--target-size", args->target_size, "the same to a size of the whole file in bytes")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 50));
  command->add_option("--target-kl", args->target_kl, "the same to a divergence, nats a token, as rounding to nearest would add up to")
      ->check(CLI::Range(1e-6, 100.0))->check(check_is_number);
  command->add_option("--measurement", args->measurement, "file of measured sensitivities: read when it exists, else written")
      ->type_name("FILE");
  command->add_option("--measured", args->measured,
                      "JSON of perplexity, compare, eval or sweep: its figures go into the model card")
      ->type_name("FILE");
  command->add_flag("--lm-head", args->lm_head, "quantize the output projection as well");
  command->callback([c, args] { c.chosen = [c, args] { return quantize(c.global, *args); }; });
}

}  // namespace nibble::cli
