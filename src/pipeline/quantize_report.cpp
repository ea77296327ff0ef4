#include "pipeline/quantize_report.h"

#include <filesystem>
#include <span>

#include "base/cpu.h"
#include "base/hash.h"

namespace nbl::pipeline {
namespace {

Json layer_json(const LayerReport& l, bool with_seconds) {
  Json entry = Json::object();
  entry.set("name", l.name);
  entry.set("encoding", l.encoding);
  entry.set("bits", l.bits);
  entry.set("error", l.error);
  if (with_seconds) entry.set("seconds", l.seconds);
  Json notes = Json::array();
  for (const std::string& note : l.notes) notes.push_back(note);
  entry.set("notes", std::move(notes));
  return entry;
}

}  // namespace

std::string calibration_arithmetic(const QuantizeOptions& options) {
  const Isa isa = best_isa();
  if (options.compute == Compute::exact || (isa != Isa::avx512bf16 && isa != Isa::amx)) return "float32";
  return std::string("bfloat16 ") + isa_name(isa);
}

Json make_manifest(const Checkpoint& input, const QuantizeOptions& options, const QuantizeReport& report,
                   bool calibrated) {
  Json m = Json::object();
  if (!options.version.empty()) m.set("nibble_version", options.version);
  Json source = Json::object();
  source.set("format", input.format());
  source.set("name", std::filesystem::path(input.origin()).filename().string());
  m.set("source", std::move(source));
  m.set("method", report.method);
  m.set("recipe", options.recipe.text);
  m.set("options", report.options);
  Json overrides = Json::array();
  for (const auto& [pattern, recipe] : options.overrides) {
    Json rule = Json::object();
    rule.set("pattern", pattern);
    rule.set("recipe", recipe);
    overrides.push_back(std::move(rule));
  }
  m.set("overrides", std::move(overrides));
  if (!options.rotation.empty()) m.set("rotation", options.rotation);
  if (options.include_lm_head) m.set("lm_head", true);
  m.set("seed", static_cast<int64_t>(options.seed));
  if (calibrated) {
    const Calibration& c = options.calibration;
    Json calibration = Json::object();
    calibration.set("source", c.source);
    calibration.set("text_sha256", c.text_sha256);
    calibration.set("windows", c.windows);
    calibration.set("length", c.length);
    calibration.set("text_tokens", c.text_tokens);
    calibration.set("tokens", c.windows * c.length);
    calibration.set("compute", calibration_arithmetic(options));
    calibration.set("ids_sha256", sha256_hex(std::as_bytes(std::span(c.ids))));
    m.set("calibration", std::move(calibration));
  }
  m.set("bits_per_weight", report.bits_per_weight);
  Json layers = Json::array();
  for (const LayerReport& l : report.layers) layers.push_back(layer_json(l, false));
  m.set("layers", std::move(layers));
  return m;
}

Json to_json(const QuantizeReport& report) {
  Json j = Json::object();
  j.set("method", report.method);
  j.set("options", report.options);
  j.set("bits_per_weight", report.bits_per_weight);
  j.set("file_bytes", report.file_bytes);
  j.set("seconds", report.seconds);
  j.set("peak_rss_bytes", report.peak_rss_bytes);
  j.set("memory_plan", report.memory_plan);
  j.set("resumed_layers", report.resumed_layers);
  Json layers = Json::array();
  for (const LayerReport& l : report.layers) layers.push_back(layer_json(l, true));
  j.set("layers", std::move(layers));
  j.set("output_sha256", report.output_sha256);
  return j;
}

}  // namespace nbl::pipeline
