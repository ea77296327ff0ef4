// trellis: gptq onto the codes of a trellis, up to 4 bits (Marcellin and Fischer, Trellis coded quantization, 1990; for
// weights of language models: Tseng et al., QTIP, 2024). From 5 bits on it is gptq.
#include <fmt/format.h>

#include <memory>

#include "quant/affine.h"
#include "quant/calibrated.h"
#include "quant/feedback_rounding.h"
#include "quant/gptq_options.h"
#include "quant/method.h"
#include "quant/trellis.h"

namespace nbl::quant {
namespace {

namespace opt = gptq_options;

constexpr int64_t kMostBits = 4;

const OptionSpec kOptions[] = {
    opt::with(opt::bits, "3", 1),
    opt::with(opt::group_size, "64", -1),
    opt::with(opt::scale_bits, "6", 0),
    opt::mse,
    opt::alpha,
    opt::beta,
    opt::correct,
    opt::even_tokens,
    opt::output_tokens,
    opt::with(opt::refine, "1", 0),
    kDampOption,
};

class TrellisMethod final : public Method {
 public:
  std::string_view id() const override { return "trellis"; }
  std::string_view summary() const override { return "gptq onto trellis codes, a third less error at the same bits"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override {
    NBL_TRY(check_scale_bits(options));
    const int64_t bits = options.integer("bits"), group = options.integer("group_size");
    if (bits <= kMostBits && group > 0 && group % kernels::kTrellisSteps != 0) {
      return {Code::invalid_argument,
              fmt::format("group_size is {}, expected -1 (one group a row) or, up to {} bits, a multiple of {}", group,
                          kMostBits, kernels::kTrellisSteps)};
    }
    return check_group_size(group);
  }
  uint32_t needs(const Options& options) const override { return correction_needs(options); }
  bool sequential(const Options&) const override { return true; }
  double original_share(const Options& options) const override { return options.real("correct"); }
  int64_t output_tokens(const Options& options) const override { return options.integer("output_tokens"); }
  double nominal_bits(const Options& options) const override {
    const int bits = static_cast<int>(options.integer("bits"));
    return nominal_affine_bits(bits, bits <= kMostBits, options.integer("group_size"),
                               static_cast<int>(options.integer("scale_bits")));
  }

  /// Of prose-28m's weights in groups of 64, without feedback: 15.1 dB become 16.8 at 3 bits, 9.0 become 10.9 at 2.
  double error_share(const Options& options) const override {
    return options.integer("bits") <= kMostBits ? 0.66 : 1.0;
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    if (options.integer("bits") > kMostBits) {
      NBL_ASSIGN(const Recipe gptq, gptq_of(options, {"bits", "group_size", "scale_bits", "mse", "alpha", "beta",
                                                      "correct", "even_tokens", "output_tokens", "refine", "damp"}));
      return gptq.method->quantize(task, gptq.options, context);
    }
    NBL_TRY(check_task(task));
    std::vector<std::string> notes;
    FeedbackRule rule;
    rule.grid.bits = static_cast<int>(options.integer("bits"));
    rule.grid.symmetric = true;
    // A group whose weights are all as large as the largest has that for its root mean square.
    rule.grid.scale_type = choose_scale_type_of(task.weight, trellis_table(rule.grid.bits).unit * TrellisCoder::largest_scale(), &notes);
    AffineCodes codes = AffineCodes::create(task.n, task.k, options.integer("group_size"), rule.grid);
    codes.trellis = true;
    if (const int scale_bits = static_cast<int>(options.integer("scale_bits")); scale_bits > 0)
      codes.code_scales(task.weight, scale_bits, context);

    HessianFactor factor;
    if (has_hessian(task, &notes)) {
      std::vector<float> diagonal(static_cast<std::size_t>(task.k));
      for (std::size_t c = 0; c < diagonal.size(); ++c) diagonal[c] = task.stats->hessian[c * (diagonal.size() + 1)];
      factor = factor_hessian(*task.stats, order_of(diagonal, codes.group), damping_of(options), context, &notes);
      rule.refine = static_cast<int>(options.integer("refine"));
      choose_corrections(task, options, &rule, &notes);
    }
    if (factor.r.empty()) {
      notes.push_back("paths chosen by the weights alone instead");
      factor = no_feedback(task.k, codes.group);
      rule = FeedbackRule{.grid = rule.grid};
    }
    const std::unique_ptr<RowFeedback> rows = RowFeedback::create(task, codes.step_rows, context, &notes);
    rule.rows = rows.get();
    round_with_feedback(task, factor, rule, context, &codes);
    NBL_ASSIGN(Segment segment, codes.pack());
    return finish_result(task, make_qtensor(task.n, task.k, std::move(segment)), std::move(notes), context);
  }

 private:
  static std::vector<int32_t> order_of(std::span<const float> diagonal, int64_t group) {
    std::vector<int32_t> order;
    for (const TrellisTile& tile : trellis_tiles(diagonal, static_cast<int64_t>(diagonal.size()), group))
      order.insert(order.end(), tile.columns().begin(), tile.columns().end());
    return order;
  }

  /// The factor of the identity: every column costs the same and none corrects another.
  static HessianFactor no_feedback(int64_t k, int64_t group) {
    HessianFactor factor;
    factor.k = k;
    factor.order = order_of(std::vector<float>(static_cast<std::size_t>(k)), group);
    factor.r.assign(static_cast<std::size_t>(k * k), 0.0f);
    for (int64_t c = 0; c < k; ++c) factor.r[static_cast<std::size_t>(c * (k + 1))] = 1;
    factor.dead.assign(static_cast<std::size_t>(k), 0);
    return factor;
  }
};

}  // namespace

const Method* trellis_method() {
  static const TrellisMethod method;
  return &method;
}

}  // namespace nbl::quant
