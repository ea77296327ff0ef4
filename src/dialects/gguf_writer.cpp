#include "dialects/gguf_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "dialects/common.h"
#include "dialects/gguf_encode.h"
#include "dialects/gguf_metadata.h"
#include "dialects/gguf_names.h"
#include "dialects/gguf_vocab.h"
#include "dialects/model_card.h"
#include "io/gguf_writer.h"
#include "io/spool.h"
#include "tensor/folded_scales.h"

namespace nbl::dialects {
namespace {

// general.file_type of a file whose weights are mostly of this type.
uint32_t file_type(std::string_view type) {
  static constexpr std::pair<std::string_view, uint32_t> kTypes[] = {
      {"F32", 0},    {"F16", 1},    {"Q4_0", 2},   {"Q4_1", 3},    {"Q8_0", 7},    {"Q5_0", 8},
      {"Q5_1", 9},   {"Q2_K", 10},  {"Q3_K", 12},  {"Q4_K", 15},   {"Q5_K", 17},   {"Q6_K", 18},
      {"IQ4_NL", 25}, {"IQ4_XS", 30}, {"BF16", 32}, {"TQ1_0", 36}, {"TQ2_0", 37},  {"MXFP4", 38},
  };
  for (const auto& [name, id] : kTypes) {
    if (name == type) return id;
  }
  return 0;
}

class GgufWriter final : public CheckpointWriter {
 public:
  GgufWriter(std::filesystem::path path, io::TensorSpool spool) : path_(std::move(path)), spool_(std::move(spool)) {}

  Status set_config(const Json& config) override {
    NBL_ASSIGN(arch_, gguf_arch_of(config));
    const Json* text = config.find_value("text_config");
    config_ = text != nullptr ? *text : config;
    if (!arch_->silent.empty()) {
      NBL_ASSIGN(const Json meant, Json::parse(arch_->silent, "built-in description"));
      for (const auto& [key, value] : meant.members())
        if (config_.find_value(key) == nullptr) config_.set(key, value);
    }
    return {};
  }
  Status set_manifest(const Json& manifest) override {
    manifest_ = manifest;
    return {};
  }
  void set_rounding(bool allowed) override { rounding_ = allowed; }

  Status add_asset(std::string_view name, std::string_view bytes) override {
    if (!is_plain_file_name(name)) {
      return Status(Code::invalid_argument, fmt::format("'{}' cannot be the name of an asset", shown(name)));
    }
    assets_.insert_or_assign(std::string(name), std::string(bytes));
    return {};
  }

  Status add_matrix(std::string_view name, const QTensor& tensor) override {
    NBL_TRY(tensor.validate(std::string(name)));
    NBL_ASSIGN(const auto place, place_of(name));
    if (place.change == GgufChange::flat) return add_flat(place, name, tensor);
    const std::string_view type = type_of_experts(place);
    auto encoded = gguf_encode(tensor, type);
    if (!encoded.ok() && !type.empty()) {
      return Status(Code::unsupported, fmt::format("tensor {}: GGUF holds the experts of a layer as one type, and {} does not hold "
                                                   "this one as it does those before it; the native format holds each as it is",
                                                   name, type));
    }
    if (!encoded.ok()) return encoded.status().with_context(fmt::format("tensor {}", name));
    GgufRows rows = std::move(encoded).value();
    auto map = gguf_row_map(place.change, tensor.n, config_);
    if (!map.ok()) return map.status().with_context(fmt::format("tensor {}", name));
    if (*map) {
      std::vector<std::byte> moved(rows.data.size());
      for (int64_t r = 0; r < tensor.n; ++r) {
        std::memcpy(moved.data() + (*map)(r) * rows.row_bytes, rows.data.data() + r * rows.row_bytes,
                    static_cast<std::size_t>(rows.row_bytes));
      }
      rows.data = std::move(moved);
    }
    if (place.name == "token_embd.weight") vocabulary_rows_ = tensor.n;
    bytes_of_type_[rows.type] += static_cast<int64_t>(rows.data.size());
    return add(place, rows.type, {tensor.n, tensor.k}, rows.data);
  }

  // A matrix of one row is a vector there.
  Status add_flat(const GgufPlace& place, std::string_view name, const QTensor& tensor) {
    if (tensor.n != 1) return Status(Code::mismatch, fmt::format("tensor {}: {} rows where one is expected", name, tensor.n));
    std::vector<float> row(static_cast<std::size_t>(tensor.k));
    tensor.dequantize_row(0, row.data());
    return add(place, "F32", {tensor.k}, std::as_bytes(std::span(row)));
  }

  Status add_array(std::string_view name, const Array& array) override {
    if (is_buffer(name)) return {};
    if (array.shape.size() == 2) {
      NBL_ASSIGN(const QTensor tensor, dense_matrix(array, name));
      return add_matrix(name, tensor);
    }
    NBL_ASSIGN(const auto place, place_of(name));
    if (array.shape.empty() || array.shape.size() > 4) {
      return Status(Code::unsupported,
                    fmt::format("tensor {}: GGUF holds no {}", name, shape_string(array.shape)));
    }
    NBL_ASSIGN(std::vector<float> values, array.to_f32());
    if (place.change == GgufChange::plus_one) NBL_TRY(plus_one(name, values));
    auto map = gguf_row_map(place.change, array.shape[0], config_);
    if (!map.ok()) return map.status().with_context(fmt::format("tensor {}", name));
    if (*map && array.shape.size() == 1) {
      std::vector<float> moved(values.size());
      for (std::size_t r = 0; r < values.size(); ++r) {
        moved[static_cast<std::size_t>((*map)(static_cast<int64_t>(r)))] = values[r];
      }
      values = std::move(moved);
    }
    return add(place, "F32", array.shape, std::as_bytes(std::span(values)));
  }

  Result<std::string> finish() override;

 private:
  Result<GgufPlace> place_of(std::string_view name) const {
    if (arch_ == nullptr) return Status(Code::invalid_argument, "the config must be given before the tensors");
    auto place = hf_to_gguf(*arch_, name);
    if (!place) {
      return Status(Code::unsupported,
                    fmt::format("tensor {}: GGUF's architecture {} has no place for it; the native format keeps it",
                                shown(name), arch_->id));
    }
    const auto it = tensors_.find(place->name);
    if (it != tensors_.end() && (place->expert < 0 || it->second.contains(place->expert))) {
      return Status(Code::invalid_argument, fmt::format("{}: tensor {} was written twice", path_.string(), shown(name)));
    }
    return *place;
  }

  // The type that experts of this tensor have so far; empty: none is there, or it is no tensor of experts.
  std::string_view type_of_experts(const GgufPlace& place) const {
    const auto it = tensors_.find(place.name);
    return it == tensors_.end() ? std::string_view() : spool_.entries()[it->second.begin()->second].planned.type;
  }

  Status add(const GgufPlace& place, std::string_view type, Shape shape, std::span<const std::byte> bytes) {
    NBL_TRY(spool_.add(place.name, std::string(type), std::move(shape), bytes));
    tensors_[place.name].emplace(place.expert, spool_.entries().size() - 1);
    return {};
  }

  Result<std::vector<io::GgufTensor>> stacked() const;

  // GGUF stores these norms with 1 added; what comes back after taking 1 away must be the same.
  Status plus_one(std::string_view name, std::vector<float>& values) const {
    for (float& value : values) {
      const float stored = value + 1.0f;
      if (stored - 1.0f != value && !rounding_) {
        return Status(Code::unsupported,
                      fmt::format("tensor {}: gguf stores 1 + w in float32, which rounds {:.9g}; the native format "
                                  "and huggingface hold it exactly",
                                  name, value));
      }
      value = stored;
    }
    return {};
  }

  void describe(io::GgufMetadata& metadata) const;

  std::filesystem::path path_;
  io::TensorSpool spool_;
  const GgufArch* arch_ = nullptr;
  Json config_, manifest_ = Json::object();
  Assets assets_;
  std::map<std::string, std::map<int64_t, std::size_t>, std::less<>> tensors_;  ///< entries of the spool by expert (-1: none)
  std::map<std::string_view, int64_t> bytes_of_type_;
  int64_t vocabulary_rows_ = 0;
  bool rounding_ = false;
};

// What the file says about itself beside its model: type, licence, calibration.
void GgufWriter::describe(io::GgufMetadata& metadata) const {
  std::string_view most = "F32";
  int64_t bytes = -1;
  bool quantized = false;
  for (const auto& [type, size] : bytes_of_type_) {
    if (size > bytes) bytes = size, most = type;
    quantized |= !type.starts_with("F") && type != "BF16";
  }
  metadata.set_text("general.name", path_.stem().string());
  metadata.set_text("general.type", "model");
  metadata.set_u32("general.file_type", file_type(most));
  Json config = config_;
  note_folding(config, manifest_);
  if (const std::string folded = folding_of_config(config); !folded.empty()) metadata.set_text("nibble.folded", folded);
  if (quantized) metadata.set_u32("general.quantization_version", 2);
  if (const auto card = assets_.find("README.md"); card != assets_.end()) {
    if (const std::string license = card_value(card->second, "license"); !license.empty()) {
      metadata.set_text("general.license", license);
    }
  }
  const Json* calibration = manifest_.find_value("calibration");
  if (const Json* source = manifest_.find_value("source"); calibration == nullptr && source != nullptr) {
    calibration = source->find_value("calibration");
  }
  if (calibration == nullptr) return;
  const Json *text = calibration->find_value("source"), *windows = calibration->find_value("windows");
  metadata.set_text("quantize.imatrix.file", text == nullptr ? std::string_view("calibration") : text->as_string());
  if (text != nullptr) metadata.set_text("quantize.imatrix.dataset", text->as_string());
  int64_t entries = 0;
  for (const auto& entry : spool_.entries()) {
    entries += entry.planned.shape.size() == 2 && entry.planned.name.starts_with("blk.") ? 1 : 0;
  }
  metadata.set_i32("quantize.imatrix.entries_count", static_cast<int32_t>(entries));
  if (windows != nullptr) {
    metadata.set_i32("quantize.imatrix.chunks_count", static_cast<int32_t>(windows->as_int()));
  }
}

// The tensors of the file: experts one behind the other.
Result<std::vector<io::GgufTensor>> GgufWriter::stacked() const {
  std::vector<io::GgufTensor> all;
  for (const auto& [name, parts] : tensors_) {
    io::GgufTensor tensor{name, spool_.entries()[parts.begin()->second].planned.shape, {}};
    int64_t next = 0;
    for (const auto& [expert, part] : parts) {
      const Shape& shape = spool_.entries()[part].planned.shape;
      if (expert >= 0 && (expert != next || shape != tensor.shape)) {
        return Status(Code::mismatch, fmt::format("tensor {}: expert {} is missing or of another shape", name, next));
      }
      ++next;
      tensor.parts.push_back(part);
    }
    if (parts.begin()->first >= 0) tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(parts.size()));
    all.push_back(std::move(tensor));
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return io::natural_less(a.name, b.name); });
  if (arch_->every_layer.empty()) return all;
  const Json* layers = config_.find_value("num_hidden_layers");
  for (int64_t l = 0; layers != nullptr && l < layers->as_int(); ++l) {
    std::string wanted(arch_->every_layer);
    wanted.replace(wanted.find("{l}"), 3, std::to_string(l));
    if (!tensors_.contains(wanted)) {
      return Status(Code::unsupported,
                    fmt::format("layer {} has no experts, and GGUF's architecture {} wants them in every layer; the native "
                                "format and huggingface hold it",
                                l, arch_->id));
    }
  }
  return all;
}

Result<std::string> GgufWriter::finish() {
  if (arch_ == nullptr) return Status(Code::invalid_argument, fmt::format("{}: no config was given", path_.string()));
  io::GgufMetadata metadata;
  std::vector<GgufExtra> extras;
  NBL_TRY(gguf_model_metadata(config_, *arch_, metadata, extras));
  describe(metadata);
  NBL_TRY(gguf_vocabulary(assets_, config_, vocabulary_rows_, metadata));
  for (const GgufExtra& extra : extras) {
    NBL_TRY(add(GgufPlace{extra.name}, "F32", {static_cast<int64_t>(extra.values.size())}, std::as_bytes(std::span(extra.values))));
  }
  NBL_ASSIGN(const std::vector<io::GgufTensor> tensors, stacked());
  return io::write_gguf(path_, metadata, spool_, tensors);
}

}  // namespace

Result<std::unique_ptr<CheckpointWriter>> make_gguf_writer(const std::filesystem::path& path) {
  NBL_ASSIGN(io::TensorSpool spool, io::TensorSpool::create(path.parent_path()));
  return std::unique_ptr<CheckpointWriter>(std::make_unique<GgufWriter>(path, std::move(spool)));
}

}  // namespace nbl::dialects
