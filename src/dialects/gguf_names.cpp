#include "dialects/gguf_names.h"

#include <fmt/format.h>

namespace nbl::dialects {
namespace {

// The number that stands where `pattern` has {l}; false when `name` is not of the pattern.
bool match(std::string_view pattern, std::string_view name, std::string& layer) {
  const std::size_t at = pattern.find("{l}");
  if (at == std::string_view::npos) return pattern == name;
  const std::string_view before = pattern.substr(0, at), after = pattern.substr(at + 3);
  if (name.size() <= before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after)) return false;
  const std::string_view number = name.substr(before.size(), name.size() - before.size() - after.size());
  if (number.size() > 6 || number.find_first_not_of("0123456789") != std::string_view::npos) return false;
  layer = number;
  return true;
}

std::string filled(std::string_view pattern, const std::string& layer) {
  std::string name(pattern);
  if (const std::size_t at = name.find("{l}"); at != std::string::npos) name.replace(at, 3, layer);
  return name;
}

std::optional<std::pair<std::string, GgufChange>> translate(const GgufArch& arch, std::string_view name,
                                                            std::string_view GgufName::*from,
                                                            std::string_view GgufName::*to) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  for (const GgufName& known : arch.names) {
    std::string layer;
    if (!match(known.*from, name.substr(0, dot), layer)) continue;
    return std::pair{filled(known.*to, layer) + std::string(name.substr(dot)), known.change};
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::pair<std::string, GgufChange>> gguf_to_hf(const GgufArch& arch, std::string_view name) {
  return translate(arch, name, &GgufName::gguf, &GgufName::hf);
}

std::optional<std::pair<std::string, GgufChange>> hf_to_gguf(const GgufArch& arch, std::string_view name) {
  return translate(arch, name, &GgufName::hf, &GgufName::gguf);
}

const GgufArch* gguf_arch_of(const Json& config) {
  const Json* text = config.find_value("text_config");
  const Json* type = (text != nullptr ? *text : config).find_value("model_type");
  if (type == nullptr) return nullptr;
  // Families that GGUF files under another one's name.
  std::string_view wanted = type->as_string();
  if (wanted == "mistral") wanted = "llama";
  if (wanted == "gemma3") wanted = "gemma3_text";
  for (const GgufArch& arch : gguf_archs()) {
    const auto own = Json::parse(arch.config, "built-in description");
    if (!own.ok()) continue;
    if (const Json* name = own->find("model_type"); name != nullptr && name->as_string() == wanted) return &arch;
  }
  return nullptr;
}

Result<RowMap> gguf_row_map(GgufChange change, int64_t rows, const Json& config) {
  const bool q = change == GgufChange::permute_q, k = change == GgufChange::permute_k;
  if (!q && !k && change != GgufChange::neox_qkv) return RowMap();
  const Json* heads = k ? config.find_value("num_key_value_heads") : nullptr;
  if (heads == nullptr) heads = config.find_value("num_attention_heads");
  const int64_t count = heads == nullptr ? 0 : heads->as_int();
  const int64_t pieces = change == GgufChange::neox_qkv ? 3 * count : 2 * count;
  if (count <= 0 || rows <= 0 || rows % pieces != 0) {
    return Status(Code::mismatch, fmt::format("{} rows for {} heads", rows, count));
  }
  if (change == GgufChange::neox_qkv) {
    const int64_t d = rows / pieces;
    return RowMap([=](int64_t row) {
      const int64_t head = row / (3 * d), part = row / d % 3;
      return (part * count + head) * d + row % d;
    });
  }
  const int64_t d = rows / count;
  return RowMap([=](int64_t row) {
    const int64_t head = row / d, within = row % d;
    const int64_t j = within / (d / 2), i = within % (d / 2);
    return head * d + 2 * i + j;
  });
}

}  // namespace nbl::dialects
