#include "dialects/hf_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "base/memory_files.h"
#include "dialects/common.h"
#include "text/assets.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;

// Files that belong to a model besides its weights and config.json.
constexpr std::array<std::string_view, 15> kAssets = {"tokenizer.json",
                                                      "tokenizer_config.json",
                                                      "tokenizer.model",
                                                      "special_tokens_map.json",
                                                      "added_tokens.json",
                                                      "vocab.json",
                                                      "merges.txt",
                                                      "generation_config.json",
                                                      "chat_template.jinja",
                                                      "chat_template.json",
                                                      "preprocessor_config.json",
                                                      "LICENSE",
                                                      "LICENSE.txt",
                                                      "NOTICE",
                                                      "README.md"};

struct Rename {
  std::string_view model_type, from, to;
};
constexpr Rename kPrefixes[] = {
#define NBL_HF_PREFIX(type, from, to) {type, from, to},
#define NBL_HF_SUFFIX(from, to)
#include "dialects/hf_names.inc"
#undef NBL_HF_PREFIX
#undef NBL_HF_SUFFIX
};
constexpr Rename kSuffixes[] = {
#define NBL_HF_PREFIX(type, from, to)
#define NBL_HF_SUFFIX(from, to) {"*", from, to},
#include "dialects/hf_names.inc"
#undef NBL_HF_PREFIX
#undef NBL_HF_SUFFIX
};

struct Tied {
  std::string_view model_type, embedding;
  bool usual;  ///< when the config does not say
};
constexpr Tied kTied[] = {
#define NBL_HF_PREFIX(type, from, to)
#define NBL_HF_SUFFIX(from, to)
#define NBL_HF_TIED(type, embedding, usual) {type, embedding, usual},
#include "dialects/hf_names.inc"
#undef NBL_HF_PREFIX
#undef NBL_HF_SUFFIX
#undef NBL_HF_TIED
};

/// The embedding's name, where the model ties its output matrix to it.
std::string_view tied_embedding(std::string_view model_type, const Json& config) {
  const auto fits = [&](const Tied& t) { return t.model_type == "*" || t.model_type == model_type; };
  const Tied& tied = *std::find_if(std::begin(kTied), std::end(kTied), fits);
  const Json* said = config.find_value("tie_word_embeddings");
  return (said != nullptr ? said->as_bool() : tied.usual) ? tied.embedding : std::string_view();
}

std::string canonical_name(std::string_view name, std::string_view model_type) {
  std::string result(name);
  for (const Rename& r : kPrefixes) {
    if ((r.model_type == "*" || r.model_type == model_type) && name.starts_with(r.from)) {
      result = std::string(r.to) + std::string(name.substr(r.from.size()));
      break;
    }
  }
  for (const Rename& r : kSuffixes) {
    if (result.ends_with(r.from)) result = result.substr(0, result.size() - r.from.size()) + std::string(r.to);
  }
  return result;
}

bool is_file(const fs::path& path) { return file_exists(path); }

// The files that hold the weights: an index, a single file, or all that there are.
struct WeightFiles {
  fs::path index;
  std::vector<fs::path> files;
};

Result<WeightFiles> weight_files(const fs::path& directory) {
  WeightFiles found;
  for (const char* name : {"model.safetensors.index.json", "model.safetensors"}) {
    if (!is_file(directory / name)) continue;
    if (std::string_view(name).ends_with(".json")) {
      found.index = directory / name;
    } else {
      found.files = {directory / name};
    }
    return found;
  }
  bool torch = false;
  for (const std::string& name : directory_names(directory)) {
    if (name.ends_with(".safetensors.index.json")) {
      if (!found.index.empty()) {
        return Status(Code::unsupported, fmt::format("{}: more than one index of safetensors files: {} and {}",
                                                     directory.string(), found.index.filename().string(), name));
      }
      found.index = directory / name;
    }
    // Vendors add the same weights in another naming, and adapters; neither is the model.
    const bool other = name.starts_with("consolidated") || name.starts_with("adapter");
    if (name.ends_with(".safetensors") && !other && is_file(directory / name)) found.files.push_back(directory / name);
    torch |= name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth");
  }
  if (!found.index.empty()) {
    found.files.clear();
    return found;
  }
  std::sort(found.files.begin(), found.files.end());
  if (found.files.empty()) {
    return Status(
        torch ? Code::unsupported : Code::not_found,
        fmt::format("{}: no *.safetensors{}", directory.string(),
                    torch ? "; weights in torch's own files (.bin, .pt) are not read: convert them first" : ""));
  }
  return found;
}

Result<Json> read_json(const fs::path& path) {
  NBL_ASSIGN(const std::string text, read_text_file(path, kMaxConfigBytes));
  NBL_ASSIGN(Json json, Json::parse(text, path.string(), {.max_bytes = kMaxConfigBytes}));
  if (!json.is_object()) return Status(Code::corrupt, fmt::format("{}: no JSON object", path.string()));
  return json;
}

// quantization_config, or one of the files that older tools wrote instead.
Status find_quantization(const fs::path& path, const Json& config, Json& out, std::string& origin) {
  if (const Json* inside = config.find_value("quantization_config")) {
    if (!inside->is_object()) {
      return Status(Code::corrupt,
                    fmt::format("{}: quantization_config is no object", (path / "config.json").string()));
    }
    out = *inside;
    origin = (path / "config.json").string();
  }
  for (const char* name : {"quantize_config.json", "quant_config.json"}) {
    if (!is_file(path / name)) continue;
    NBL_ASSIGN(Json file, read_json(path / name));
    if (out.is_null()) {
      out = std::move(file);
      origin = (path / name).string();
      continue;
    }
    for (const auto& [key, value] : file.members()) {  // config.json wins; the file may add what it lacks
      if (out.find_value(key) == nullptr) out.set(key, value);
    }
  }
  return {};
}

}  // namespace

bool is_hf_directory(const fs::path& path) {
  return directory_exists(path) && is_file(path / "config.json");
}

std::string hf_quant_method(const fs::path& path) {
  const auto config = read_json(path / "config.json");
  if (!config.ok()) return {};
  Json quantization;
  std::string origin;
  if (!find_quantization(path, *config, quantization, origin).ok() || quantization.is_null()) return {};
  if (const Json* method = quantization.find_value("quant_method")) return std::string(method->as_string());
  if (const Json* version = quantization.find_value("version"); version != nullptr && version->is_string())
    return "awq";
  return quantization.find_value("w_bit") != nullptr ? "awq" : "gptq";
}

Result<std::unique_ptr<HfDirectory>> HfDirectory::open(const fs::path& path) {
  auto directory = std::make_unique<HfDirectory>();
  directory->path_ = path;
  NBL_TRY(directory->read_configs());
  NBL_TRY(directory->read_tensors());
  return directory;
}

Status HfDirectory::read_configs() {
  NBL_ASSIGN(config_, read_json(path_ / "config.json"));
  return find_quantization(path_, config_, quantization_, quantization_origin_);
}

Status HfDirectory::read_tensors() {
  NBL_ASSIGN(const WeightFiles files, weight_files(path_));
  if (files.index.empty()) {
    NBL_ASSIGN(container_, io::open_safetensors_files(files.files));
  } else {
    NBL_ASSIGN(container_, io::open_safetensors_index(files.index));
  }
  // A multimodal config keeps what concerns the language model under text_config.
  const Json* text = config_.find_value("text_config");
  const Json* type = (text != nullptr ? *text : config_).find_value("model_type");
  const std::string_view model_type = type == nullptr ? std::string_view() : type->as_string();
  for (const io::RawTensor& raw : container_->tensors()) {
    const auto [it, fresh] = tensors_.emplace(canonical_name(raw.name, model_type), &raw);
    if (!fresh) {
      return Status(Code::corrupt, fmt::format("{}: tensors {} and {} are the same parameter {}", origin(),
                                               shown(it->second->name), shown(raw.name), shown(it->first)));
    }
  }
  const std::string_view embedding = tied_embedding(model_type, text != nullptr ? *text : config_);
  if (const auto head = tensors_.find("lm_head.weight"); !embedding.empty() && head != tensors_.end() && !tensors_.contains(embedding)) {
    tensors_.emplace(embedding, head->second);
    tensors_.erase(head);
  }
  return {};
}

const io::RawTensor* HfDirectory::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  if (it != tensors_.end()) return it->second;
  return base_ != nullptr ? base_->find(name) : nullptr;
}

Result<std::shared_ptr<const HfDirectory>> HfDirectory::with_loaded(std::span<const std::string> names) const {
  std::shared_ptr<HfDirectory> overlay;
  for (const std::string& name : names) {
    const io::RawTensor* raw = find(name);
    if (raw == nullptr || raw->in_memory()) continue;
    if (overlay == nullptr) {
      overlay = std::make_shared<HfDirectory>();
      overlay->path_ = path_;
      overlay->quantization_origin_ = quantization_origin_;
      overlay->base_ = this;
    }
    NBL_ASSIGN(io::RawTensor loaded, io::load(*raw));
    overlay->tensors_.insert_or_assign(name, &overlay->loaded_.emplace_back(std::move(loaded)));
  }
  if (overlay == nullptr) return std::shared_ptr<const HfDirectory>(std::shared_ptr<void>(), this);
  return std::shared_ptr<const HfDirectory>(std::move(overlay));
}

Result<const io::RawTensor*> HfDirectory::get(std::string_view name) const {
  const io::RawTensor* raw = find(name);
  if (raw == nullptr) return not_found(origin(), name);
  return raw;
}

// What nibble says of a directory that it wrote.
constexpr std::string_view kOwnManifest = "nibble_manifest.json";

bool HfDirectory::has_asset(std::string_view name) const {
  if (name == text::kAdditionalTemplates) return text::has_additional_templates(path_);
  if (name == "manifest.json") return is_file(path_ / kOwnManifest);
  return std::find(kAssets.begin(), kAssets.end(), name) != kAssets.end() && is_file(path_ / name);
}

Result<std::string> HfDirectory::asset(std::string_view name) const {
  if (!has_asset(name)) return Status(Code::not_found, fmt::format("{}: no {}", origin(), shown(name)));
  if (name == text::kAdditionalTemplates) return text::read_additional_templates(path_);
  return read_text_file(path_ / (name == "manifest.json" ? kOwnManifest : name), kMaxAssetBytes);
}

std::vector<std::string> HfDirectory::asset_names() const {
  std::vector<std::string> names;
  if (has_asset(text::kAdditionalTemplates)) names.emplace_back(text::kAdditionalTemplates);
  for (const std::string_view name : kAssets) {
    if (has_asset(name)) names.emplace_back(name);
  }
  return names;
}

}  // namespace nbl::dialects
