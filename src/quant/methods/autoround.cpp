// autoround: rounding learned against the output of whole decoder blocks (Cheng et al., 2023, SignRound), from gptq's codes.
// This file rounds single linears and says how to learn; the pipeline, which knows the block, does the learning.
#include <fmt/format.h>

#include "quant/affine.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

const OptionSpec kOptions[] = {
    {"bits", OptionSpec::Type::integer, "4", 2, 8, {}, "bits a weight"},
    {"group_size", OptionSpec::Type::integer, "128", -1, 65536, {}, "weights that share a scale; -1: a row"},
    {"sym", OptionSpec::Type::boolean, "false", 0, 1, {}, "symmetric grid: no zero points"},
    {"iters", OptionSpec::Type::integer, "50", 0, 10000, {}, "steps of learning a block; 0: gptq alone"},
    {"lr", OptionSpec::Type::real, "0.001", 0, 1, {}, "steps of the grid that a code moves at first; 0: 0.02"},
    {"scale_lr", OptionSpec::Type::real, "0.001", 0, 0.1, {}, "share by which a scale moves at first"},
    {"batch_tokens", OptionSpec::Type::integer, "2048", 1, 1048576, {}, "calibration tokens in a step, in whole windows"},
    {"alpha", OptionSpec::Type::real, "0.5", 0, 1, {}, "gptq's: share of earlier layers' error that is corrected"},
    {"beta", OptionSpec::Type::real, "0.5", 0, 1, {}, "gptq's: share of the residual stream's error that is corrected"},
    {"damp", OptionSpec::Type::real, "0.01", 0, 1, {}, "gptq's: share of the mean diagonal added to the Hessian"},
};

class AutoroundMethod final : public Method {
 public:
  std::string_view id() const override { return "autoround"; }
  std::string_view summary() const override { return "codes and scales learned against each decoder block's output, from gptq's"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override { return check_group_size(options.integer("group_size")); }
  uint32_t needs(const Options& options) const override {
    return kNeedHessian | (options.real("alpha") > 0 ? kNeedCross : 0u) | (options.real("beta") > 0 ? kNeedResidual : 0u);
  }
  bool sequential(const Options&) const override { return true; }
  double nominal_bits(const Options& options) const override {
    return nominal_affine_bits(static_cast<int>(options.integer("bits")), options.boolean("sym"),
                               options.integer("group_size"));
  }
  BlockLearning block_learning(const Options& options) const override {
    BlockLearning learning;
    learning.iterations = options.integer("iters");
    learning.rate = options.real("lr");
    learning.scale_rate = options.real("scale_lr");
    learning.batch_tokens = options.integer("batch_tokens");
    return learning;
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_ASSIGN(const Recipe first,
               parse_recipe(fmt::format("gptq:bits={},group_size={},sym={},alpha={},beta={},damp={}", options.text("bits"),
                                        options.text("group_size"), options.text("sym"), options.text("alpha"),
                                        options.text("beta"), options.text("damp"))));
    return first.method->quantize(task, first.options, context);
  }
};

}  // namespace

const Method* autoround_method() {
  static const AutoroundMethod method;
  return &method;
}

}  // namespace nbl::quant
