// The compressed-tensors dialect: reads its integer and FP8 formats, writes pack-quantized.
#include <fmt/format.h>

#include <optional>
#include <vector>

#include "base/checked.h"
#include "dialects/common.h"
#include "dialects/ct_float.h"
#include "dialects/ct_layout.h"
#include "dialects/dialects.h"
#include "dialects/hf_writer.h"
#include "dialects/recode.h"
#include "io/safetensors_types.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;

// A little-endian stream of `bits` bits a code; words `stride` apart.
void pack_line(int bits, const std::vector<uint8_t>& codes, uint32_t* words, int64_t stride) {
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const auto bit = static_cast<int64_t>(i) * bits, offset = bit % 32;
    words[bit / 32 * stride] |= static_cast<uint32_t>(codes[i]) << offset;
    if (offset + bits > 32) words[(bit / 32 + 1) * stride] |= static_cast<uint32_t>(codes[i]) >> (32 - offset);
  }
}

Result<AffineView> view_of(const QTensor& tensor, int bits, int64_t group_size) {
  AffineTarget target;
  target.bits = bits == 0 ? std::vector<int>{2, 3, 4, 5, 6, 7, 8} : std::vector<int>{bits};
  target.zeros = {ZeroKind::symmetric, ZeroKind::code};
  target.scale_types = {DType::f16, DType::bf16, DType::f32};
  target.column_order = true;
  if (group_size > 0) target.groups = {group_size >= tensor.k ? 0 : group_size};
  if (group_size < 0) target.groups = {0};
  return recode_affine(tensor, target, "compressed-tensors");
}

struct Scheme {
  int bits = 0;
  int64_t group_size = 0;  // -1: the row
  bool symmetric = true, reordered = false;
};

class CtPacker final : public HfPacker {
 public:
  Status pack(const std::string& module, const QTensor& tensor, io::TensorSpool& spool) override {
    if (is_scaled_fp8(tensor)) return pack_float(module, tensor, spool);
    if (!float_strategy_.empty()) return mixed();
    // One scheme serves the whole file; the first weight's is taken.
    NBL_ASSIGN(const AffineView view, view_of(tensor, scheme_ ? scheme_->bits : 0, scheme_ ? scheme_->group_size : 0));
    const Scheme mine{view.bits, view.group_size == 0 ? -1 : view.group_size, view.zero_kind == ZeroKind::symmetric,
                      !tensor.column_order.empty()};
    if (scheme_ && (mine.symmetric != scheme_->symmetric || mine.reordered != scheme_->reordered)) {
      return Status(Code::unsupported,
                    "compressed-tensors cannot hold symmetric beside asymmetric, or ordered beside reordered, weights "
                    "in one scheme; the native format can");
    }
    scheme_ = mine;
    const int64_t n = tensor.n, k = tensor.k, words = ceil_div(k * view.bits, 32),
                  zero_words = ceil_div(n * view.bits, 32);
    const auto order = tensor.column_order.as<int32_t>();
    std::vector<uint32_t> packed(static_cast<std::size_t>(n * words));
    std::vector<uint8_t> stored(static_cast<std::size_t>(k)), codes(stored.size());
    for (int64_t row = 0; row < n; ++row) {
      view.codes(row, stored.data());
      for (std::size_t p = 0; p < stored.size(); ++p)
        codes[order.empty() ? p : static_cast<std::size_t>(order[p])] = stored[p];
      pack_line(view.bits, codes, packed.data() + row * words, 1);
    }
    std::vector<std::byte> scales(view.scales.size() * static_cast<std::size_t>(dtype_bytes(view.scale_type)));
    convert_from_f32(view.scales.data(), static_cast<int64_t>(view.scales.size()), view.scale_type, scales.data());
    const int64_t shape[2] = {n, k};
    NBL_TRY(spool.add(module + ".weight_packed", "I32", {n, words}, std::as_bytes(std::span(packed))));
    NBL_TRY(spool.add(module + ".weight_scale", io::safetensors_type_name(view.scale_type), {n, view.groups}, scales));
    NBL_TRY(spool.add(module + ".weight_shape", "I64", {2}, std::as_bytes(std::span(shape))));
    if (!mine.symmetric) {
      std::vector<uint32_t> zeros(static_cast<std::size_t>(zero_words * view.groups));
      std::vector<uint8_t> column(static_cast<std::size_t>(n));
      for (int64_t g = 0; g < view.groups; ++g) {
        for (int64_t r = 0; r < n; ++r)
          column[static_cast<std::size_t>(r)] =
              static_cast<uint8_t>(view.zeros[static_cast<std::size_t>(r * view.groups + g)]);
        pack_line(view.bits, column, zeros.data() + g, view.groups);
      }
      NBL_TRY(
          spool.add(module + ".weight_zero_point", "I32", {zero_words, view.groups}, std::as_bytes(std::span(zeros))));
    }
    if (!order.empty()) {
      std::vector<int32_t> index(order.size());
      for (std::size_t p = 0; p < order.size(); ++p) {
        index[static_cast<std::size_t>(order[p])] =
            view.group_size == 0 ? 0 : static_cast<int32_t>(static_cast<int64_t>(p) / view.group_size);
      }
      NBL_TRY(spool.add(module + ".weight_g_idx", "I32", {k}, std::as_bytes(std::span(index))));
    }
    return {};
  }

  Status pack_float(const std::string& module, const QTensor& tensor, io::TensorSpool& spool) {
    NBL_ASSIGN(const std::string strategy, fp8_strategy(tensor));
    if (scheme_ || (!float_strategy_.empty() && strategy != float_strategy_)) return mixed();
    float_strategy_ = strategy;
    return pack_fp8(module, tensor, strategy, spool);
  }

  static Status mixed() {
    return Status(Code::unsupported,
                  "compressed-tensors cannot hold integers beside e4m3, or scales shared in several ways, in one scheme; "
                  "the native format can");
  }

  Json quantization_config(const std::vector<std::string>& dense) const override {
    const Scheme scheme = scheme_.value_or(Scheme{4, 128, true, false});
    Json weights = Json::object();
    weights.set("num_bits", scheme.bits);
    weights.set("type", "int");
    weights.set("symmetric", scheme.symmetric);
    weights.set("strategy", scheme.group_size > 0 ? "group" : "channel");
    weights.set("group_size", scheme.group_size > 0 ? Json(scheme.group_size) : Json());
    weights.set("dynamic", false);
    weights.set("actorder", scheme.reordered ? Json("group") : Json());
    Json targets = Json::array(), ignore = Json::array();
    targets.push_back("Linear");
    for (const std::string& name : dense) ignore.push_back(name);
    const bool floats = !float_strategy_.empty();
    if (floats) weights = fp8_weights_config(float_strategy_);
    Json group = Json::object();
    group.set("targets", std::move(targets));
    group.set("weights", std::move(weights));
    group.set("input_activations", Json());
    group.set("output_activations", Json());
    Json config = Json::object();
    config.set("quant_method", "compressed-tensors");
    config.set("format", floats ? "float-quantized" : "pack-quantized");
    config.set("quantization_status", "compressed");
    config.set("config_groups", Json::object({{"group_0", std::move(group)}}));
    config.set("ignore", std::move(ignore));
    config.set("kv_cache_scheme", Json());
    return config;
  }

 private:
  std::optional<Scheme> scheme_;
  std::string float_strategy_;  // of e4m3 weights; empty until there is one
};

class CtDialect final : public Dialect {
 public:
  std::string_view id() const override { return "compressed-tensors"; }
  std::string_view summary() const override {
    return "compressed-tensors directory: integer and FP8 formats are read, pack-quantized and float-quantized are written";
  }
  std::string_view limits() const override {
    return "2 to 8 bits with integer zero points, or e4m3 with a scale a row or a block of 128 x 128, one scheme a "
           "model; no codebooks, minimums, outliers or input scales.";
  }
  bool recognise(const fs::path& path) const override {
    return is_hf_directory(path) && hf_quant_method(path) == "compressed-tensors";
  }
  Result<std::unique_ptr<Checkpoint>> open(const fs::path& path) const override {
    NBL_ASSIGN(std::unique_ptr<HfDirectory> directory, HfDirectory::open(path));
    NBL_ASSIGN(const CtScheme scheme, ct_scheme(directory->quantization(), directory->quantization_origin()));
    return make_hf_checkpoint("compressed-tensors", std::move(directory), make_ct_packing(scheme));
  }
  bool can_write() const override { return true; }
  Result<std::unique_ptr<CheckpointWriter>> make_writer(const fs::path& path) const override {
    return make_hf_writer(path, std::make_unique<CtPacker>());
  }
  Status can_represent(std::string_view name, const QTensor& tensor) const override {
    if (is_plain_dense(tensor)) return {};
    if (is_scaled_fp8(tensor)) return fp8_strategy(tensor).status().with_context(fmt::format("tensor {}", name));
    return view_of(tensor, 0, 0).status().with_context(fmt::format("tensor {}", name));
  }
  std::vector<std::string> closest_recipes(const QTensor& tensor) const override {
    return nearest_affine_recipes(tensor, {2, 3, 4, 5, 6, 7, 8}, {128, 64, 32, -1});
  }
};

}  // namespace

const Dialect& compressed_tensors_dialect() {
  static const CtDialect dialect;
  return dialect;
}

}  // namespace nbl::dialects
