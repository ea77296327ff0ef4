// nibble verify: a file against its own manifest, by hashes or by making it again.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>

#include "cli/cli.h"
#include "cli/json_text.h"
#include "cli/quantize_job.h"
#include "cli/scratch.h"

namespace nibble::cli {
namespace {

namespace fs = std::filesystem;

struct Args {
  std::string model, original, calib;
  bool reproduce = false;
};

int hashes(const Global& global, const Args& args) {
  const Runtime runtime = global.make_runtime();
  const Checkpoint checkpoint = global.open_checkpoint(runtime, args.model);
  const std::string json = checkpoint.verify(make_progress(global));
  const Doc doc(json);
  const bool ok = flag(doc.root(), "ok");
  if (global.tables()) {
    for (const auto d : items(doc.root(), "differences")) fmt::print("{}\n", d.get_string().value());
    fmt::print("{}\n", ok ? "ok: every hash of the manifest agrees" : "NOT ok");
  }
  emit_json(global, json);
  return ok ? kDone : kAnswerIsNo;
}

/// Where the two files first differ, or nothing.
std::string difference(const fs::path& a, const fs::path& b, const std::string& name) {
  std::error_code ec;
  const auto size_a = fs::file_size(a, ec), size_b = fs::file_size(b, ec);
  if (ec) return fmt::format("{}: {}", name, ec.message());
  if (size_a != size_b) return fmt::format("{}: {} bytes, made again {}", name, size_a, size_b);
  std::ifstream one(a, std::ios::binary), two(b, std::ios::binary);
  std::string x(std::size_t{1} << 20, '\0'), y(x.size(), '\0');
  for (uint64_t at = 0; at < size_a; at += x.size()) {
    one.read(x.data(), static_cast<std::streamsize>(x.size()));
    two.read(y.data(), static_cast<std::streamsize>(y.size()));
    const std::size_t count = static_cast<std::size_t>(one.gcount());
    if (one.gcount() != two.gcount()) return fmt::format("{}: cannot be read to its end", name);
    for (std::size_t i = 0; i < count; ++i)
      if (x[i] != y[i]) return fmt::format("{}: differs from byte {} on", name, at + i);
  }
  return {};
}

std::vector<std::string> differences(const fs::path& model, const fs::path& again) {
  std::vector<std::string> found;
  const auto compare = [&](const fs::path& a, const fs::path& b, const std::string& name) {
    const std::string d = difference(a, b, name);
    if (!d.empty()) found.push_back(d);
  };
  if (!fs::is_directory(model)) {
    compare(model, again, model.filename().string());
    return found;
  }
  for (const auto& entry : fs::directory_iterator(again)) {
    const std::string name = entry.path().filename().string();
    if (!fs::exists(model / name)) found.push_back(name + ": only made again");
    else compare(model / name, entry.path(), name);
  }
  for (const auto& entry : fs::directory_iterator(model)) {
    const std::string name = entry.path().filename().string();
    if (!fs::exists(again / name)) found.push_back(name + ": not made again");
  }
  return found;
}

/// The file that the manifest means: what was given, else what lies where the job that made MODEL would find it.
std::string original_of(const Args& args, const std::string& name) {
  if (!args.original.empty()) return args.original;
  const fs::path beside = fs::path(args.model).parent_path() / name;
  if (!name.empty() && fs::exists(beside)) return beside.string();
  throw Failure(kBadInput, fmt::format("'{}' was made from '{}', which does not lie beside it; say where it is with --original", args.model, name));
}

int reproduce(const Global& global, const Args& args) {
  const Runtime runtime = global.make_runtime();
  const std::string inspected = global.open_checkpoint(runtime, args.model).inspect(NBL_INSPECT_MANIFEST);
  const Doc doc(inspected);
  auto manifest = doc.root()["manifest"];
  if (manifest.error() || text(manifest.value_unsafe(), "recipe").empty())
    throw Failure(kBadInput, fmt::format("'{}' carries no manifest of a quantization", args.model));
  const auto m = manifest.value_unsafe();
  if (text(m, "nibble_version", nbl_version()) != nbl_version())
    throw Failure(kBadInput, fmt::format("'{}' was made by nibble {}; this is {}", args.model, text(m, "nibble_version"), nbl_version()));
  QuantizeJob job;
  job.recipe = text(m, "recipe");
  for (const auto rule : items(m, "overrides")) job.overrides.emplace_back(text(rule, "pattern"), text(rule, "recipe"));
  if (!text(m, "rotation").empty()) job.settings.emplace_back("rotation", text(m, "rotation"));
  if (flag(m, "lm_head")) job.settings.emplace_back("lm_head", "true");
  job.settings.emplace_back("format", text(doc.root(), "format"));
  job.settings.emplace_back("seed", fmt::format("{}", integer(m, "seed")));
  auto c = m["calibration"];
  if (!c.error()) {
    const std::string source = text(c.value_unsafe(), "source"), arithmetic = text(c.value_unsafe(), "compute");
    job.settings.emplace_back("compute", arithmetic == "float32" ? "exact" : "fast");
    job.calibration = args.calib.empty() ? source : args.calib;
    std::error_code ec;
    if (job.calibration != "self" && job.calibration != "builtin" && !fs::is_regular_file(job.calibration, ec))
      throw Failure(kBadInput, fmt::format("'{}' was calibrated on '{}', which is not there; say where it is with --calib", args.model, source));
    job.calibration_tokens = integer(c.value_unsafe(), "tokens");
    job.calibration_length = integer(c.value_unsafe(), "length");
  }
  fs::path model = args.model;
  if (!model.has_filename()) model = model.parent_path();  // "model/"
  const Scratch scratch(model.string() + ".reproduce-", kBadInput);
  const fs::path again = scratch.path() / model.filename();
  const Checkpoint original = global.open_checkpoint(runtime, original_of(args, text(m["source"].value_unsafe(), "name")));
  run_quantize_job(global, runtime, original, job, again.string());
  const std::vector<std::string> found = differences(args.model, again);
  if (global.tables()) {
    for (const std::string& d : found) fmt::print("{}\n", d);
    fmt::print("{}\n", found.empty() ? "ok: quantized again, the same bytes" : "NOT ok");
  }
  ObjectText out;
  out.set_raw("ok", found.empty() ? "true" : "false");
  std::string list = "[";
  for (const std::string& d : found) list += (list.size() > 1 ? "," : "") + json_string(d);
  out.set_raw("differences", list + "]");
  emit_json(global, out.text());
  return found.empty() ? kDone : kAnswerIsNo;
}

}  // namespace

void add_verify(const Commands& c) {
  auto* command = c.app.add_subcommand("verify", "compare every tensor of MODEL with the hashes in its manifest, or make it again");
  auto args = std::make_shared<Args>();
  command->add_option("MODEL", args->model, "a native file; with --reproduce anything that `quantize` wrote")->required();
  command->add_flag("--reproduce", args->reproduce, "quantize again as the manifest says and compare the bytes");
  command->add_option("--original", args->original, "with it: the original (default: the manifest's name for it, beside MODEL)");
  command->add_option("--calib", args->calib, "with it: the calibration text (default: where the manifest found it)")->type_name("FILE");
  command->callback([c, args] { c.chosen = [c, args] { return args->reproduce ? reproduce(c.global, *args) : hashes(c.global, *args); }; });
}

}  // namespace nibble::cli
