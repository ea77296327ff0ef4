#include "tensor/folded_scales.h"

#include <string_view>

namespace nbl {
namespace {

constexpr int kMostSources = 8;  // a file made of a file made of a file ...

std::string of_manifest(const Json& manifest, int depth) {
  const auto names = [](const Json* text) -> std::string_view {
    for (const std::string_view method : {"awq", "smoothquant"})
      if (text != nullptr && text->as_string().find(method) != std::string_view::npos) return method;
    return {};
  };
  if (manifest.find_value("rotation") != nullptr) return "a rotation";
  for (const std::string_view key : {"method", "recipe"})
    if (const std::string_view name = names(manifest.find_value(key)); !name.empty()) return std::string(name);
  if (const Json* overrides = manifest.find_value("overrides"))
    for (const Json& rule : overrides->elements())
      if (const std::string_view name = names(rule.find_value("recipe")); !name.empty()) return std::string(name);
  const Json* source = manifest.find_value("source");
  return source != nullptr && depth < kMostSources ? of_manifest(*source, depth + 1) : std::string();
}

}  // namespace

std::string folding_of_manifest(const Json& manifest) { return of_manifest(manifest, 0); }

std::string folding_of_config(const Json& config) {
  const Json* own = config.find_value("nibble");
  const Json* folded = own == nullptr ? nullptr : own->find_value("folded");
  if (folded != nullptr && folded->is_string()) return std::string(folded->as_string());
  const Json* quantization = config.find_value("quantization_config");
  const Json* method = quantization == nullptr ? nullptr : quantization->find_value("quant_method");
  return method != nullptr && method->as_string() == "awq" ? "awq" : std::string();
}

void note_folding(Json& config, const Json& manifest) {
  std::string folded = folding_of_config(config);
  if (folded.empty() && manifest.is_object()) folded = folding_of_manifest(manifest);
  if (!folded.empty()) config.set("nibble", Json::object({{"folded", std::move(folded)}}));
}

}  // namespace nbl
