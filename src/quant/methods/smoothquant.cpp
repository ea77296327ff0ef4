// smoothquant: 8-bit weights and activations (Xiao et al., 2022). Columns whose activations are large are made smaller by a factor that
// moves into the weights, s = max|x|^alpha / max|w|^(1 - alpha), folded into the layer before where the architecture allows it.
#include <algorithm>
#include <cmath>

#include "quant/calibrated.h"
#include "quant/method.h"
#include "quant/row_int8.h"

namespace nbl::quant {
namespace {

const OptionSpec kOptions[] = {
    {"alpha", OptionSpec::Type::real, "0.5", 0, 1, {}, "share of the difficulty that moves from the activations to the weights"},
    {"activations", OptionSpec::Type::choice, "dynamic", 0, 0, {"dynamic", "static", "none"}, "a scale of each token, one from the calibration, or activations as they are"},
};

class SmoothQuantMethod final : public Method {
 public:
  std::string_view id() const override { return "smoothquant"; }
  std::string_view summary() const override { return "8-bit weights and activations, outlying channels smoothed into the weights"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  uint32_t needs(const Options&) const override { return kNeedAbsMax; }
  double nominal_bits(const Options&) const override { return 8.0; }

  Result<std::vector<float>> input_scales(std::span<const LinearTask> group, const Options& options,
                                          const MethodContext&) const override {
    if (group.empty() || group.front().stats == nullptr) return std::vector<float>{};
    const std::vector<float>& reach = group.front().stats->abs_max;
    const std::size_t k = static_cast<std::size_t>(group.front().k);
    if (reach.size() != k) return std::vector<float>{};
    std::vector<float> weight(k, 0.0f);
    for (const LinearTask& task : group) {
      for (std::size_t i = 0; i < task.weight.size(); ++i) weight[i % k] = std::max(weight[i % k], std::fabs(task.weight[i]));
    }
    const double alpha = options.real("alpha");
    std::vector<float> scales(k, 1.0f);
    for (std::size_t c = 0; c < k; ++c) {
      // A dead column or a column of zeros has nothing to balance.
      if (!(reach[c] > 0) || !(weight[c] > 0)) continue;
      const double s = std::pow(static_cast<double>(reach[c]), alpha) / std::pow(static_cast<double>(weight[c]), 1 - alpha);
      // s divides the activations, so it multiplies the weights.
      if (std::isfinite(s)) scales[c] = static_cast<float>(std::clamp(s, 1e-5, 1e5));
    }
    tie_scales(group.front().producer_rows, &scales);
    return scales;
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_TRY(check_task(task));
    std::vector<std::string> notes;
    NBL_ASSIGN(QTensor tensor, quantize_rows_int8(task, context));
    if (const std::string& activations = options.text("activations"); activations != "none") {
      InputRounding rounding;
      if (activations == "static") rounding.scale = static_input_scale(task, 127.0f, &notes);
      tensor.input_rounding = rounding;
    }
    return finish_result(task, std::move(tensor), std::move(notes), context);
  }
};

}  // namespace

const Method* smoothquant_method() {
  static const SmoothQuantMethod method;
  return &method;
}

}  // namespace nbl::quant
