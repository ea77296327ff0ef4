// The GGUF dialect: names, rows and metadata as the Hugging Face checkpoint of the same model has them.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>

#include "dialects/common.h"
#include "dialects/dialects.h"
#include "dialects/gguf_arch.h"
#include "dialects/gguf_blocks.h"
#include "dialects/gguf_config.h"
#include "dialects/gguf_encode.h"
#include "dialects/gguf_names.h"
#include "dialects/gguf_writer.h"
#include "dialects/recode.h"
#include "dialects/tokenizer_export.h"
#include "io/safetensors_types.h"
#include "io/spool.h"

namespace nbl::dialects {
namespace {

struct Entry {
  const io::RawTensor* raw = nullptr;
  GgufChange change = GgufChange::none;
};

class GgufCheckpoint final : public Checkpoint {
 public:
  static Result<std::unique_ptr<Checkpoint>> open(const std::filesystem::path& path);

  std::string format() const override { return "gguf"; }
  std::string origin() const override { return container_->origin(); }
  std::vector<std::string> sources() const override {
    std::vector<std::string> files = {origin()};
    for (const io::RawTensor& raw : container_->tensors()) {  // part after part
      if (raw.file != files.back()) files.push_back(raw.file);
    }
    return files;
  }
  const Json& config() const override { return config_; }
  std::vector<TensorInfo> tensors() const override;
  bool has(std::string_view name) const override { return entries_.contains(name); }
  Result<QTensor> matrix(std::string_view name) const override;
  Result<Array> array(std::string_view name) const override;
  bool has_asset(std::string_view name) const override { return assets_.contains(name); }
  Result<std::string> asset(std::string_view name) const override {
    const auto it = assets_.find(name);
    if (it == assets_.end()) return Status(Code::not_found, fmt::format("{}: no {} inside", origin(), shown(name)));
    return it->second;
  }
  std::vector<std::string> asset_names() const override {
    std::vector<std::string> names;
    for (const auto& [name, text] : assets_) names.push_back(name);
    return names;
  }
  std::vector<std::string> warnings() const override { return warnings_; }
  int64_t file_bytes() const override { return container_->file_bytes(); }

 private:
  Status index(const GgufArch& arch);
  Status index_experts(const io::RawTensor& raw, const GgufPlace& place);
  Status claim(const std::string& name, Entry entry);
  void collect_assets();
  Result<RowMap> row_map(const Entry& entry) const;

  std::unique_ptr<io::Container> container_;
  std::deque<io::RawTensor> parts_;  ///< of tensors that are several here, or of another shape
  std::map<std::string, Entry, std::less<>> entries_;
  std::map<std::string, std::string, std::less<>> assets_;
  std::vector<std::string> warnings_;
  Json config_;
};

Result<std::unique_ptr<Checkpoint>> GgufCheckpoint::open(const std::filesystem::path& path) {
  auto checkpoint = std::make_unique<GgufCheckpoint>();
  NBL_ASSIGN(checkpoint->container_, io::open_gguf(path));
  const Json* name = checkpoint->container_->metadata().find("general.architecture");
  if (name == nullptr || !name->is_string()) {
    return Status(Code::corrupt, fmt::format("{}: no general.architecture in the metadata", path.string()));
  }
  const GgufArch* arch = gguf_arch_of(*checkpoint->container_, name->as_string());
  if (arch == nullptr) {
    return Status(Code::unsupported, fmt::format("{}: GGUF architecture '{}' is not known; known are {}", path.string(),
                                                 shown(name->as_string()), gguf_arch_ids()));
  }
  NBL_ASSIGN(checkpoint->config_, gguf_config(*checkpoint->container_, *arch));
  NBL_TRY(checkpoint->index(*arch));
  checkpoint->collect_assets();
  return std::unique_ptr<Checkpoint>(std::move(checkpoint));
}

Status GgufCheckpoint::index(const GgufArch& arch) {
  int unknown = 0;
  for (const io::RawTensor& raw : container_->tensors()) {
    if (raw.name == "rope_freqs.weight" || raw.name == "rope_factors_long.weight" ||
        raw.name == "rope_factors_short.weight")
      continue;  // in the config
    auto translated = gguf_to_hf(arch, raw.name);
    if (!translated) {
      if (++unknown <= 5)
        warnings_.push_back(
            fmt::format("tensor {} has no place in architecture {}; it is not used", shown(raw.name), arch.id));
      translated.emplace(GgufPlace{raw.name});
    }
    if (translated->name.find("{e}") != std::string::npos) {
      NBL_TRY(index_experts(raw, *translated));
      continue;
    }
    const io::RawTensor* own = &raw;
    if (translated->change == GgufChange::flat && raw.shape.size() == 1) {
      own = &parts_.emplace_back(raw);
      parts_.back().shape = {1, raw.shape[0]};
    }
    NBL_TRY(claim(translated->name, {own, translated->change}));
  }
  if (unknown > 5)
    warnings_.push_back(fmt::format("{} more tensors have no place in architecture {}", unknown - 5, arch.id));
  return {};
}

Status GgufCheckpoint::claim(const std::string& name, Entry entry) {
  if (entries_.emplace(name, entry).second) return {};
  return Status(Code::corrupt, fmt::format("{}: tensor {} is there under two names", origin(), shown(name)));
}

// The matrices of all experts lie in one tensor.
Status GgufCheckpoint::index_experts(const io::RawTensor& raw, const GgufPlace& place) {
  if (raw.shape.size() != 3 || raw.shape[0] <= 0 || raw.shape[0] > 65536 ||
      raw.bytes.size() % static_cast<std::size_t>(raw.shape[0]) != 0) {
    return unexpected_shape(raw, "three dimensions, experts first");
  }
  const auto bytes = static_cast<int64_t>(raw.bytes.size()) / raw.shape[0];
  for (int64_t e = 0; e < raw.shape[0]; ++e) {
    io::RawTensor& part = parts_.emplace_back(raw);
    part.shape = {raw.shape[1], raw.shape[2]};
    part.offset += e * bytes;
    part.bytes = raw.source->view(part.offset, bytes);
    NBL_TRY(claim(with_expert(place.name, e), {&parts_.back(), place.change}));
  }
  return {};
}

void GgufCheckpoint::collect_assets() {
  const Json& metadata = container_->metadata();
  const Json* kind = metadata.find("tokenizer.ggml.model");
  if (kind != nullptr && kind->as_string() != "none" && kind->as_string() != "no_vocab") {
    assets_["tokenizer.gguf"] = gguf_tokenizer(metadata).dump();
  }
  for (const auto& [key, asset] : {std::pair{"tokenizer.chat_template", "chat_template.jinja"},
                                   std::pair{"tokenizer.huggingface.json", "tokenizer.json"}}) {
    const Json* text = metadata.find(key);
    if (text != nullptr && text->is_string()) assets_[asset] = std::string(text->as_string());
  }
  if (assets_.contains("tokenizer.json")) {
    assets_["tokenizer_config.json"] = huggingface_tokenizer_config(metadata);
    assets_.erase("tokenizer.gguf");  // the same, in fewer words
  }
}

Result<RowMap> GgufCheckpoint::row_map(const Entry& entry) const {
  auto map = gguf_row_map(entry.change, entry.raw->shape.empty() ? 0 : entry.raw->shape[0], config_);
  if (!map.ok()) return map.status().with_context(fmt::format("{}: tensor {}", entry.raw->file, entry.raw->name));
  return map;
}

std::vector<TensorInfo> GgufCheckpoint::tensors() const {
  std::vector<TensorInfo> infos;
  for (const auto& [name, entry] : entries_) {
    const io::RawTensor& raw = *entry.raw;
    const auto bytes = static_cast<int64_t>(raw.bytes.size());
    const auto count = element_count(raw.shape);
    const GgufBlock* block = gguf_block(raw.type);
    const auto dtype = io::safetensors_dtype(raw.type);
    infos.push_back({name, raw.shape, dtype ? dtype_name(*dtype) : gguf_description(raw),
                     bits_per_element(bytes, count.ok() ? *count : 0), block == nullptr ? 0 : block->group, bytes});
  }
  std::sort(infos.begin(), infos.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return io::natural_less(a.name, b.name); });
  return infos;
}

Result<QTensor> GgufCheckpoint::matrix(std::string_view name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return not_found(origin(), name);
  NBL_ASSIGN(const RowMap rows, row_map(it->second));
  NBL_ASSIGN(QTensor tensor, gguf_matrix(*it->second.raw, rows));
  const Status status = tensor.validate(std::string(name));
  if (!status.ok()) return status.with_context(origin());
  return tensor;
}

Result<Array> GgufCheckpoint::array(std::string_view name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return not_found(origin(), name);
  const io::RawTensor& raw = *it->second.raw;
  if (raw.shape.size() == 2) {
    NBL_ASSIGN(const QTensor tensor, matrix(name));
    return to_array(tensor);
  }
  NBL_ASSIGN(Array array, io::to_array(raw));
  NBL_ASSIGN(const RowMap rows, row_map(it->second));
  if (rows) {  // a bias goes with the rows of its weight
    if (raw.shape.size() != 1) return unexpected_shape(raw, "one dimension, or two");
    NBL_ASSIGN(const std::vector<float> values, array.to_f32());
    std::vector<float> moved(values.size());
    for (std::size_t r = 0; r < moved.size(); ++r)
      moved[r] = values[static_cast<std::size_t>(rows(static_cast<int64_t>(r)))];
    return Array::from_f32(std::move(moved), array.shape);
  }
  if (it->second.change == GgufChange::plus_one) {
    NBL_ASSIGN(std::vector<float> values, array.to_f32());
    for (float& value : values) value -= 1.0f;
    return Array::from_f32(std::move(values), array.shape);
  }
  return array;
}

class GgufDialect final : public Dialect {
 public:
  std::string_view id() const override { return "gguf"; }
  std::string_view summary() const override { return "llama.cpp's single file, versions 2 and 3, split or not"; }
  std::string_view limits() const override {
    return "holds only its own block types: groups of 32 or 256 along rows, no column order, no outliers.";
  }
  bool recognise(const std::filesystem::path& path) const override {
    const Storage head = io::file_head(path, 4);
    return head.size() == 4 && std::memcmp(head.data(), "GGUF", 4) == 0;
  }
  Result<std::unique_ptr<Checkpoint>> open(const std::filesystem::path& path) const override {
    return GgufCheckpoint::open(path);
  }
  bool can_write() const override { return true; }
  Result<std::unique_ptr<CheckpointWriter>> make_writer(const std::filesystem::path& path) const override {
    return make_gguf_writer(path);
  }
  Status can_represent(std::string_view name, const QTensor& tensor) const override {
    return gguf_encode(tensor).status().with_context(fmt::format("tensor {}", name));
  }
  std::vector<std::string> closest_recipes(const QTensor& tensor) const override {
    if (tensor.k % 32 != 0) return {"fp16", "fp32"};
    std::vector<std::string> recipes;
    for (const std::string& recipe : nearest_affine_recipes(tensor, {4, 5, 8}, {})) {
      // Its blocks have their own group size.
      const std::size_t bits = recipe.find(','), sym = recipe.rfind(',');
      recipes.push_back(fmt::format("{},group_size=32{}", recipe.substr(0, bits), recipe.substr(sym)));
    }
    std::reverse(recipes.begin(), recipes.end());  // symmetric grids fit its smaller types
    recipes.push_back("fp32");
    return recipes;
  }
};

}  // namespace

const Dialect& gguf_dialect() {
  static const GgufDialect dialect;
  return dialect;
}

}  // namespace nbl::dialects
