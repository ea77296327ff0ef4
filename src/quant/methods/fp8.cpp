// fp8: weights as 8-bit floating-point numbers (e4m3, largest 448) times a scale of the tensor, a row, or a block of 128 x 128.
// Optionally the activations are rounded to e4m3 as well, by a scale of each token or one found in the calibration.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "kernels/rounding/rounding.h"
#include "quant/affine.h"
#include "quant/calibrated.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

constexpr float kLargest = 448.0f;
constexpr int64_t kBlock = 128;

const OptionSpec kOptions[] = {
    {"scales", OptionSpec::Type::choice, "channel", 0, 0, {"tensor", "channel", "block"}, "what shares a scale: the tensor, a row, 128 x 128 weights"},
    {"activations", OptionSpec::Type::choice, "none", 0, 0, {"none", "dynamic", "static"}, "round activations too: by a scale of each token, or one from the calibration"},
};

class Fp8Method final : public Method {
 public:
  std::string_view id() const override { return "fp8"; }
  std::string_view summary() const override { return "8-bit floating-point weights (e4m3) with scales, activations too if asked for"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  uint32_t needs(const Options& options) const override {
    return options.text("activations") == "static" ? kNeedAbsMax : kNeedNone;
  }
  double nominal_bits(const Options&) const override { return 8.0; }

  bool by_rows(const Options& options, int64_t) const override { return options.text("scales") == "channel"; }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_TRY(check_task(task, context.isa));
    const kernels::RoundingKernels& kernel = kernels::rounding_kernels(context.isa);
    std::vector<std::string> notes;
    const std::string& kind = options.text("scales");
    const int64_t rows = kind == "tensor" ? task.n : kind == "block" ? kBlock : 1;
    const int64_t columns = kind == "block" ? kBlock : task.k;
    const int64_t down = ceil_div(task.n, rows), across = ceil_div(task.k, columns);
    std::vector<float> reach(static_cast<std::size_t>(task.n * across));
    context.team->parallel_for(task.n, 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const float* w = task.weight.data() + r * task.k;
        for (int64_t g = 0; g < across; ++g) {
          float low = 0, high = 0;
          kernel.extent(w + g * columns, std::min(columns, task.k - g * columns), &low, &high);
          reach[static_cast<std::size_t>(r * across + g)] = std::max(high, -low);
        }
      }
    });
    std::vector<float> scales(static_cast<std::size_t>(down * across));
    for (int64_t r = 0; r < task.n; ++r) {
      for (int64_t g = 0; g < across; ++g) {
        float& scale = scales[static_cast<std::size_t>(r / rows * across + g)];
        scale = std::max(scale, reach[static_cast<std::size_t>(r * across + g)]);
      }
    }
    for (float& scale : scales) scale = scale / kLargest > 0 ? scale / kLargest : 1.0f;

    std::vector<std::byte> values(task.weight.size());
    std::vector<float> spread(static_cast<std::size_t>(task.n * across));
    context.team->parallel_for(task.n, 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t g = 0; g < across; ++g) {
          const float scale = scales[static_cast<std::size_t>(r / rows * across + g)];
          spread[static_cast<std::size_t>(r * across + g)] = scale;
          const int64_t first = r * task.k + g * columns;
          kernel.e4m3_codes(task.weight.data() + first, std::min(columns, task.k - g * columns), scale,
                            reinterpret_cast<uint8_t*>(values.data() + first));
        }
      }
    });
    NBL_ASSIGN(Segment segment, pack_scaled_dense(task.n, task.k, DType::e4m3, values.data(),
                                                  kind == "block" ? stored_group(kBlock, task.k) : 0, spread, DType::f32));
    if (rows > 1) {
      ScaleCodes form;
      form.super_type = DType::f32;
      form.rows = rows;
      NBL_ASSIGN(form, make_scale_codes(task.n, across, std::move(form), {{}, scales, {}, {}}));
      NBL_TRY(set_scale_codes(task.n, std::move(form), &segment));
    }
    QTensor tensor = make_qtensor(task.n, task.k, std::move(segment));
    if (const std::string& activations = options.text("activations"); activations != "none") {
      InputRounding rounding;
      rounding.type = InputRounding::Type::e4m3;
      if (activations == "static") rounding.scale = static_input_scale(task, kLargest, &notes);
      tensor.input_rounding = rounding;
    }
    return finish_result(task, std::move(tensor), std::move(notes), context);
  }
};

}  // namespace

const Method* fp8_method() {
  static const Fp8Method method;
  return &method;
}

}  // namespace nbl::quant
