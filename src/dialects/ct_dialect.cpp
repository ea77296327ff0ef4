// The compressed-tensors dialects: one reader of all formats, and a writer for each way to store codes.
#include <fmt/format.h>

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

Result<AffineView> view_of(const QTensor& tensor) {
  AffineTarget target;
  target.bits = {2, 3, 4, 5, 6, 7, 8};
  target.zeros = {ZeroKind::symmetric, ZeroKind::code};
  target.scale_types = {DType::f16, DType::bf16, DType::f32};
  target.column_order = true;
  return recode_affine(tensor, target, "compressed-tensors");
}

enum class Kind : uint8_t { packed, integer, naive };
constexpr const char* kIds[] = {"compressed-tensors", "compressed-tensors-int", "compressed-tensors-naive"};
constexpr const char* kFormats[] = {"pack-quantized", "int-quantized", "naive-quantized"};

// What a config group says, and the modules that it says it of.
struct Scheme {
  int bits = 0;
  int64_t group_size = 0;  // -1: the row
  bool symmetric = true, reordered = false;
  std::string float_strategy;  // of e4m3 weights; empty for integers
  std::vector<std::string> modules;

  bool same(const Scheme& other) const {
    return bits == other.bits && group_size == other.group_size && symmetric == other.symmetric &&
           reordered == other.reordered && float_strategy == other.float_strategy;
  }
};

Status no_floats() {
  return Status(Code::unsupported, "compressed-tensors' int-quantized holds integers; compressed-tensors holds e4m3 too");
}

class CtPacker final : public HfPacker {
 public:
  explicit CtPacker(Kind kind) : kind_(kind) {}

  Status pack(const std::string& module, const QTensor& tensor, io::TensorSpool& spool) override {
    if (is_scaled_fp8(tensor)) {
      if (kind_ == Kind::integer) return no_floats();
      Scheme mine{8, -1, true, false, {}, {}};
      NBL_ASSIGN(mine.float_strategy, fp8_strategy(tensor));
      NBL_TRY(pack_fp8(module, tensor, mine.float_strategy, spool));
      join(std::move(mine), module);
      return {};
    }
    NBL_ASSIGN(const AffineView view, view_of(tensor));
    NBL_TRY(kind_ == Kind::packed ? pack_words(module, tensor, view, spool) : pack_bytes(module, tensor, view, spool));
    join(scheme_of(tensor, view), module);
    return {};
  }

  Json quantization_config(const std::vector<std::string>& dense) const override {
    Json groups = Json::object(), ignore = Json::array();
    bool integers = false, floats = false;
    for (const Scheme& scheme : schemes_) (scheme.float_strategy.empty() ? integers : floats) = true;
    const bool mixed = kind_ == Kind::packed && integers && floats;
    for (std::size_t i = 0; i < schemes_.size(); ++i) {
      const Scheme& scheme = schemes_[i];
      Json targets = Json::array(), group = Json::object();
      if (schemes_.size() == 1) {
        targets.push_back("Linear");
      } else {
        for (const std::string& name : scheme.modules) targets.push_back(name);
      }
      group.set("targets", std::move(targets));
      group.set("weights", scheme.float_strategy.empty() ? integer_config(scheme) : fp8_weights_config(scheme.float_strategy));
      group.set("input_activations", Json());
      group.set("output_activations", Json());
      if (mixed) group.set("format", scheme.float_strategy.empty() ? kFormats[0] : "float-quantized");
      groups.set(fmt::format("group_{}", i), std::move(group));
    }
    for (const std::string& name : dense) ignore.push_back(name);
    Json config = Json::object();
    config.set("quant_method", "compressed-tensors");
    config.set("format", mixed                                          ? "mixed-precision"
                         : kind_ == Kind::packed && floats              ? "float-quantized"
                                                                        : kFormats[static_cast<int>(kind_)]);
    config.set("quantization_status", "compressed");
    config.set("config_groups", std::move(groups));
    config.set("ignore", std::move(ignore));
    config.set("kv_cache_scheme", Json());
    return config;
  }

 private:
  static Scheme scheme_of(const QTensor& tensor, const AffineView& view) {
    return {view.bits, view.group_size == 0 ? -1 : view.group_size, view.zero_kind == ZeroKind::symmetric,
            !tensor.column_order.empty(), {}, {}};
  }

  void join(Scheme scheme, const std::string& module) {
    for (Scheme& known : schemes_) {
      if (!known.same(scheme)) continue;
      known.modules.push_back(module);
      return;
    }
    scheme.modules = {module};
    schemes_.push_back(std::move(scheme));
  }

  static Json integer_config(const Scheme& scheme) {
    Json weights = Json::object();
    weights.set("num_bits", scheme.bits);
    weights.set("type", "int");
    weights.set("symmetric", scheme.symmetric);
    weights.set("strategy", scheme.group_size > 0 ? "group" : "channel");
    weights.set("group_size", scheme.group_size > 0 ? Json(scheme.group_size) : Json());
    weights.set("dynamic", false);
    weights.set("actorder", scheme.reordered ? Json("group") : Json());
    return weights;
  }

  // Codes of a row in the order of the columns, not of the groups.
  static void row_codes(const QTensor& tensor, const AffineView& view, int64_t row, std::vector<uint8_t>& stored,
                        std::vector<uint8_t>& codes) {
    const auto order = tensor.column_order.as<int32_t>();
    view.codes(row, stored.data());
    for (std::size_t p = 0; p < stored.size(); ++p)
      codes[order.empty() ? p : static_cast<std::size_t>(order[p])] = stored[p];
  }

  static Status add_scales(const std::string& module, const QTensor& tensor, const AffineView& view, io::TensorSpool& spool) {
    std::vector<std::byte> scales(view.scales.size() * static_cast<std::size_t>(dtype_bytes(view.scale_type)));
    convert_from_f32(view.scales.data(), static_cast<int64_t>(view.scales.size()), view.scale_type, scales.data());
    NBL_TRY(spool.add(module + ".weight_scale", io::safetensors_type_name(view.scale_type), {tensor.n, view.groups}, scales));
    const auto order = tensor.column_order.as<int32_t>();
    if (order.empty()) return {};
    std::vector<int32_t> index(order.size());
    for (std::size_t p = 0; p < order.size(); ++p) {
      index[static_cast<std::size_t>(order[p])] =
          view.group_size == 0 ? 0 : static_cast<int32_t>(static_cast<int64_t>(p) / view.group_size);
    }
    return spool.add(module + ".weight_g_idx", "I32", {tensor.k}, std::as_bytes(std::span(index)));
  }

  // Codes as streams of bits in 32-bit words.
  static Status pack_words(const std::string& module, const QTensor& tensor, const AffineView& view, io::TensorSpool& spool) {
    const int64_t n = tensor.n, k = tensor.k, words = ceil_div(k * view.bits, 32),
                  zero_words = ceil_div(n * view.bits, 32);
    std::vector<uint32_t> packed(static_cast<std::size_t>(n * words));
    std::vector<uint8_t> stored(static_cast<std::size_t>(k)), codes(stored.size());
    for (int64_t row = 0; row < n; ++row) {
      row_codes(tensor, view, row, stored, codes);
      pack_line(view.bits, codes, packed.data() + row * words, 1);
    }
    const int64_t shape[2] = {n, k};
    NBL_TRY(spool.add(module + ".weight_packed", "I32", {n, words}, std::as_bytes(std::span(packed))));
    NBL_TRY(spool.add(module + ".weight_shape", "I64", {2}, std::as_bytes(std::span(shape))));
    if (view.zero_kind != ZeroKind::symmetric) {
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
    return add_scales(module, tensor, view, spool);
  }

  // Codes and zero points as signed bytes, the middle of their range at 0.
  static Status pack_bytes(const std::string& module, const QTensor& tensor, const AffineView& view, io::TensorSpool& spool) {
    const int half = 1 << (view.bits - 1);
    std::vector<int8_t> all(static_cast<std::size_t>(tensor.n * tensor.k));
    std::vector<uint8_t> stored(static_cast<std::size_t>(tensor.k)), codes(stored.size());
    for (int64_t row = 0; row < tensor.n; ++row) {
      row_codes(tensor, view, row, stored, codes);
      for (std::size_t c = 0; c < codes.size(); ++c)
        all[static_cast<std::size_t>(row * tensor.k) + c] = static_cast<int8_t>(codes[c] - half);
    }
    NBL_TRY(spool.add(module + ".weight", "I8", {tensor.n, tensor.k}, std::as_bytes(std::span(all))));
    if (view.zero_kind != ZeroKind::symmetric) {
      std::vector<int8_t> zeros(view.zeros.size());
      for (std::size_t i = 0; i < zeros.size(); ++i) zeros[i] = static_cast<int8_t>(static_cast<int>(view.zeros[i]) - half);
      NBL_TRY(spool.add(module + ".weight_zero_point", "I8", {tensor.n, view.groups}, std::as_bytes(std::span(zeros))));
    }
    return add_scales(module, tensor, view, spool);
  }

  Kind kind_;
  std::vector<Scheme> schemes_;
};

class CtDialect final : public Dialect {
 public:
  explicit CtDialect(Kind kind) : kind_(kind) {}
  std::string_view id() const override { return kIds[static_cast<int>(kind_)]; }
  std::string_view summary() const override {
    switch (kind_) {
      case Kind::packed:
        return "compressed-tensors directory: integer and FP8 formats are read; pack-quantized, float-quantized and both "
               "mixed are written";
      case Kind::integer: return "the same with a byte a code (int-quantized)";
      case Kind::naive: return "the same with a byte a code or e4m3 value (naive-quantized)";
    }
    return {};
  }
  std::string_view limits() const override {
    return kind_ == Kind::integer ? "2 to 8 bits with integer zero points; no codebooks, minimums, outliers or input scales."
                                  : "2 to 8 bits with integer zero points, or e4m3 with a scale a row or a block of 128 x "
                                    "128; no codebooks, minimums, outliers or input scales.";
  }
  // One reader for all: the configuration says which it is.
  bool recognise(const fs::path& path) const override {
    return kind_ == Kind::packed && is_hf_directory(path) && hf_quant_method(path) == "compressed-tensors";
  }
  Result<std::unique_ptr<Checkpoint>> open(const fs::path& path) const override {
    NBL_ASSIGN(std::unique_ptr<HfDirectory> directory, HfDirectory::open(path));
    NBL_ASSIGN(std::vector<CtScheme> schemes, ct_schemes(directory->quantization(), directory->quantization_origin()));
    return make_hf_checkpoint("compressed-tensors", std::move(directory), make_ct_packing(std::move(schemes)));
  }
  bool can_write() const override { return true; }
  Result<std::unique_ptr<CheckpointWriter>> make_writer(const fs::path& path) const override {
    return make_hf_writer(path, std::make_unique<CtPacker>(kind_));
  }
  Status can_represent(std::string_view name, const QTensor& tensor) const override {
    if (is_plain_dense(tensor)) return {};
    const auto status = [&]() -> Status {
      if (!is_scaled_fp8(tensor)) return view_of(tensor).status();
      return kind_ == Kind::integer ? no_floats() : fp8_strategy(tensor).status();
    }();
    return status.with_context(fmt::format("tensor {}", name));
  }
  std::vector<std::string> closest_recipes(const QTensor& tensor) const override {
    return nearest_affine_recipes(tensor, {2, 3, 4, 5, 6, 7, 8}, {128, 64, 32, -1});
  }

 private:
  Kind kind_;
};

}  // namespace

const Dialect& compressed_tensors_dialect() {
  static const CtDialect dialect(Kind::packed);
  return dialect;
}
const Dialect& compressed_tensors_int_dialect() {
  static const CtDialect dialect(Kind::integer);
  return dialect;
}
const Dialect& compressed_tensors_naive_dialect() {
  static const CtDialect dialect(Kind::naive);
  return dialect;
}

}  // namespace nbl::dialects
