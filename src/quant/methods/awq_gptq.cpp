// awq+gptq: awq's scales, folded into what produces the input, then gptq's rounding of the scaled weights.
#include "quant/affine.h"
#include "quant/awq_options.h"
#include "quant/gptq_options.h"
#include "quant/hessian_factor.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

const OptionSpec kOptions[] = {
    gptq_options::bits,
    gptq_options::group_size,
    gptq_options::sym,
    awq_options::duo,
    awq_options::grid,
    gptq_options::mse,
    gptq_options::refine,
    kDampOption,
};

class AwqGptqMethod final : public Method {
 public:
  std::string_view id() const override { return "awq+gptq"; }
  std::string_view summary() const override { return "awq's scaling, then gptq's rounding"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override { return check_group_size(options.integer("group_size")); }
  uint32_t needs(const Options&) const override { return kNeedHessian | kNeedAbsMean; }
  double nominal_bits(const Options& options) const override {
    return nominal_affine_bits(static_cast<int>(options.integer("bits")), options.boolean("sym"),
                               options.integer("group_size"));
  }

  Result<std::vector<float>> input_scales(std::span<const LinearTask> group, const Options& options,
                                          const MethodContext& context) const override {
    std::string text = "awq:";
    for (const std::string_view name : {"bits", "group_size", "sym", "duo"}) text += std::string(name) + "=" + options.text(name) + ",";
    NBL_ASSIGN(const Recipe awq, parse_recipe(text + "grid=" + options.text("grid")));
    return awq.method->input_scales(group, awq.options, context);
  }

  /// Without gptq's corrections: they need statistics group by group, the scales those of the whole layer.
  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_ASSIGN(const Recipe gptq, gptq_of(options, {"bits", "group_size", "sym", "mse", "refine", "damp"}, "alpha=0,beta=0"));
    return gptq.method->quantize(task, gptq.options, context);
  }
};

}  // namespace

const Method* awq_gptq_method() {
  static const AwqGptqMethod method;
  return &method;
}

}  // namespace nbl::quant
