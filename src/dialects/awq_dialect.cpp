// The AWQ dialect: reads gemm, gemv and gemv_fast, writes gemm.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

#include "dialects/awq_layout.h"
#include "dialects/common.h"
#include "dialects/dialects.h"
#include "dialects/hf_writer.h"
#include "dialects/recode.h"

namespace nbl::dialects {
namespace {

namespace fs = std::filesystem;

Result<AffineView> view_of(const QTensor& tensor, int64_t group_size) {
  AffineTarget target;
  target.bits = {4};
  target.zeros = {ZeroKind::code};
  target.scale_types = {DType::f16};
  target.input_scale = true;  // goes with the activation, see divisors_of()
  if (group_size != 0) target.groups = {group_size >= tensor.k ? 0 : group_size};
  NBL_ASSIGN(AffineView view, recode_affine(tensor, target, "awq"));
  const int64_t size = view.group_size == 0 ? tensor.k : view.group_size;
  if (tensor.n % 8 != 0 || tensor.k % size != 0) {
    return Status(
        Code::unsupported,
        fmt::format("awq cannot hold {} rows in groups of {} of {} columns: rows go by 8 and groups must be whole; "
                    "the native format can",
                    tensor.n, size, tensor.k));
  }
  return view;
}

// The number whose reciprocal, as a float32, is this scale: what the file says the activation is divided by.
Result<std::vector<float>> divisors_of(const QTensor& tensor) {
  std::vector<float> divisors;
  for (const float scale : tensor.input_scale.as<float>()) {
    float low = 1.0f / scale, high = low;
    for (int i = 0; i < 4 && 1.0f / low != scale && 1.0f / high != scale; ++i) {
      low = std::nextafter(low, 0.0f);
      high = std::nextafter(high, INFINITY);
    }
    const float divisor = 1.0f / low == scale ? low : high;
    if (!(scale > 0) || 1.0f / divisor != scale) {
      return Status(Code::unsupported,
                    fmt::format("awq divides activations by a float, and {:.9g} is no float's reciprocal; the native format can",
                                scale));
    }
    divisors.push_back(divisor);
  }
  return divisors;
}

// Input scales have a place where the input is an activation function of its own.
Status check_input_scale(std::string_view module, const QTensor& tensor) {
  if (tensor.input_scale.empty()) return {};
  if (!awq_reads_activation(module)) {
    return Status(Code::unsupported,
                  "awq cannot hold an input scale where no activation function comes before the weight; the native format can");
  }
  return divisors_of(tensor).status();
}

class AwqPacker final : public HfPacker {
 public:
  void set_config(const Json& config) override {
    const Json* type = config.find_value("model_type");
    const std::string_view own = type == nullptr ? std::string_view() : type->as_string();
    bloom_ = own == "bloom";
    // The models whose readers look for scaled activations.
    static constexpr std::string_view kScaled[] = {"bloom", "falcon", "gptj", "gpt_neox", "gpt_bigcode", "mpt", "starcoder2"};
    scaled_ = std::find(std::begin(kScaled), std::end(kScaled), own) != std::end(kScaled);
  }

  Status pack(const std::string& module, const QTensor& tensor, io::TensorSpool& spool) override {
    NBL_TRY(check_input_scale(module, tensor));
    if (!tensor.input_scale.empty() && !scaled_) {
      return Status(Code::unsupported,
                    "awq has no scaled activations for models of this type: readers would miss them; the native format can hold it");
    }
    // One group size serves the whole file; the first weight's is taken.
    NBL_ASSIGN(const AffineView view, view_of(tensor, group_size_));
    if (group_size_ == 0) group_size_ = view.group_size == 0 ? tensor.k : view.group_size;
    const int64_t n = tensor.n, k = tensor.k, words = n / 8;
    std::vector<uint32_t> qweight(static_cast<std::size_t>(k * words)),
        qzeros(static_cast<std::size_t>(view.groups * words));
    std::vector<float> scales(static_cast<std::size_t>(view.groups * n));
    std::vector<uint8_t> codes(static_cast<std::size_t>(k));
    for (int64_t row = 0; row < n; ++row) {
      view.codes(row, codes.data());
      int nibble = 0;
      while (kAwqNibble[nibble] != row % 8) ++nibble;
      for (int64_t c = 0; c < k; ++c) {
        qweight[static_cast<std::size_t>(c * words + row / 8)] |=
            static_cast<uint32_t>(codes[static_cast<std::size_t>(c)]) << (4 * nibble);
      }
      for (int64_t g = 0; g < view.groups; ++g) {
        const auto i = static_cast<std::size_t>(row * view.groups + g);
        qzeros[static_cast<std::size_t>(g * words + row / 8)] |= static_cast<uint32_t>(view.zeros[i]) << (4 * nibble);
        scales[static_cast<std::size_t>(g * n + row)] = view.scales[i];
      }
    }
    std::vector<uint16_t> halves(scales.size());
    convert_from_f32(scales.data(), static_cast<int64_t>(scales.size()), DType::f16, halves.data());
    NBL_TRY(spool.add(module + ".qweight", "I32", {k, words}, std::as_bytes(std::span(qweight))));
    if (!tensor.input_scale.empty()) {
      NBL_ASSIGN(const std::vector<float> divisors, divisors_of(tensor));
      const std::string scaled = module.substr(0, module.rfind('.')) + std::string(kAwqActScales[bloom_ ? 1 : 0]);
      NBL_TRY(spool.add(scaled, "F32", {k}, std::as_bytes(std::span(divisors))));
    }
    NBL_TRY(spool.add(module + ".qzeros", "I32", {view.groups, words}, std::as_bytes(std::span(qzeros))));
    return spool.add(module + ".scales", "F16", {view.groups, n}, std::as_bytes(std::span(halves)));
  }

  Json quantization_config(const std::vector<std::string>& dense) const override {
    Json config = Json::object();
    config.set("quant_method", "awq");
    config.set("bits", 4);
    config.set("group_size", group_size_ == 0 ? int64_t{128} : group_size_);
    config.set("zero_point", true);
    config.set("version", "gemm");
    Json skipped = Json::array();
    for (const std::string& name : dense) {
      if (name.find(".layers.") != std::string::npos || name.find(".h.") != std::string::npos) skipped.push_back(name);
    }
    config.set("modules_to_not_convert", skipped.size() == 0 ? Json() : std::move(skipped));
    return config;
  }

 private:
  int64_t group_size_ = 0;
  bool scaled_ = false;  ///< readers know scaled activations of this type of model
  bool bloom_ = false;   ///< whose activation has a name of its own
};

class AwqDialect final : public Dialect {
 public:
  std::string_view id() const override { return "awq"; }
  std::string_view summary() const override {
    return "AWQ directory: gemm, gemv and gemv_fast are read, gemm is written";
  }
  std::string_view limits() const override {
    return "4 bits, f16 scales, integer zero points, whole groups of one size, rows by 8; input scales behind an activation "
           "function only; no column order, codebooks or outliers.";
  }
  bool recognise(const fs::path& path) const override {
    return is_hf_directory(path) && hf_quant_method(path) == "awq";
  }
  Result<std::unique_ptr<Checkpoint>> open(const fs::path& path) const override {
    NBL_ASSIGN(std::unique_ptr<HfDirectory> directory, HfDirectory::open(path));
    NBL_ASSIGN(const AwqLayout layout, awq_layout(directory->quantization(), directory->quantization_origin()));
    return make_hf_checkpoint("awq", std::move(directory), make_awq_packing(layout));
  }
  bool can_write() const override { return true; }
  Result<std::unique_ptr<CheckpointWriter>> make_writer(const fs::path& path) const override {
    return make_hf_writer(path, std::make_unique<AwqPacker>());
  }
  Status can_represent(std::string_view name, const QTensor& tensor) const override {
    if (is_plain_dense(tensor)) return {};
    Status scales = check_input_scale(name.substr(0, name.rfind(".weight")), tensor);
    if (!scales.ok()) return scales.with_context(fmt::format("tensor {}", name));
    return view_of(tensor, 0).status().with_context(fmt::format("tensor {}", name));
  }
  std::vector<std::string> closest_recipes(const QTensor& tensor) const override {
    return nearest_affine_recipes(tensor, {4}, {128, 64, 32, 16, -1});
  }
};

}  // namespace

const Dialect& awq_dialect() {
  static const AwqDialect dialect;
  return dialect;
}

}  // namespace nbl::dialects
