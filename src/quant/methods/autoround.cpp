// autoround: rounding learned against the output of whole decoder blocks (Cheng et al., 2023, SignRound), from gptq's codes.
// This file rounds single linears and says how to learn; the pipeline, which knows the block, does the learning.
#include <fmt/format.h>

#include "quant/affine.h"
#include "quant/gptq_options.h"
#include "quant/hessian_factor.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

const OptionSpec kOptions[] = {
    gptq_options::bits,
    gptq_options::group_size,
    gptq_options::sym,
    {"iters", OptionSpec::Type::integer, "12", 0, 10000, {}, "steps of learning a block; 0: gptq alone"},
    {"lr", OptionSpec::Type::real, "0.001", 0, 1, {}, "steps of the grid that a code moves at first; 0: 0.02"},
    {"scale_lr", OptionSpec::Type::real, "0.001", 0, 0.1, {}, "share by which a scale moves at first"},
    {"batch_tokens", OptionSpec::Type::integer, "2048", 1, 1048576, {}, "calibration tokens in a step, in whole windows"},
    {"epochs", OptionSpec::Type::real, "0", 0, 100, {}, "passes of learning the whole model at once; 0: none"},
    {"model_lr", OptionSpec::Type::real, "0.001", 0, 1, {}, "in them: steps of the grid that a code moves at first; 0: codes stay"},
    {"model_scale_lr", OptionSpec::Type::real, "0.0002", 0, 0.1, {}, "in them: share by which a scale moves at first"},
    {"norm_lr", OptionSpec::Type::real, "0.0002", 0, 0.1, {}, "in them: share by which a norm's weights move at first; 0: they stay"},
    gptq_options::mse,
    gptq_options::alpha,
    gptq_options::beta,
    gptq_options::correct,
    gptq_options::even_tokens,
    gptq_options::with(gptq_options::output_tokens, "8192", 0),
    gptq_options::refine,
    kDampOption,
};

class AutoroundMethod final : public Method {
 public:
  std::string_view id() const override { return "autoround"; }
  std::string_view summary() const override { return "codes and scales learned against each decoder block's output, from gptq's"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override { return check_group_size(options.integer("group_size")); }
  uint32_t needs(const Options& options) const override {
    return correction_needs(options);
  }
  bool sequential(const Options&) const override { return true; }
  double original_share(const Options& options) const override { return options.real("correct"); }
  int64_t output_tokens(const Options& options) const override { return options.integer("output_tokens"); }
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

  ModelLearning model_learning(const Options& options) const override {
    return {options.real("epochs"), options.real("model_lr"), options.real("model_scale_lr"), options.real("norm_lr")};
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_ASSIGN(const Recipe first, gptq_of(options, {"bits", "group_size", "sym", "mse", "alpha", "beta", "correct", "even_tokens", "output_tokens", "refine", "damp"}));
    return first.method->quantize(task, first.options, context);
  }
};

}  // namespace

const Method* autoround_method() {
  static const AutoroundMethod method;
  return &method;
}

}  // namespace nbl::quant
