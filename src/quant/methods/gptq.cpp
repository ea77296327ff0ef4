// gptq: columns are rounded one after the other, each one's error corrected by those that follow (Frantar et al., 2022).
#include <fmt/format.h>

#include "quant/affine.h"
#include "quant/calibrated.h"
#include "quant/feedback_rounding.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

const OptionSpec kOptions[] = {
    {"bits", OptionSpec::Type::integer, "4", 2, 8, {}, "bits a weight"},
    {"group_size", OptionSpec::Type::integer, "128", -1, 65536, {}, "weights that share a scale; -1: a row"},
    {"sym", OptionSpec::Type::boolean, "false", 0, 1, {}, "symmetric grid: no zero points"},
    {"desc_act", OptionSpec::Type::boolean, "true", 0, 1, {}, "columns in falling order of their activations"},
    {"static_groups", OptionSpec::Type::boolean, "false", 0, 1, {}, "groups of neighbouring columns, whatever the order"},
    {"mse", OptionSpec::Type::boolean, "false", 0, 1, {}, "search each grid's clipping"},
    {"damp", OptionSpec::Type::real, "0.01", 0, 1, {}, "share of the mean diagonal added to the Hessian"},
};

class GptqMethod final : public Method {
 public:
  std::string_view id() const override { return "gptq"; }
  std::string_view summary() const override { return "rounding with error feedback through the input's second moments"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override { return check_group_size(options.integer("group_size")); }
  uint32_t needs(const Options&) const override { return kNeedHessian; }
  double nominal_bits(const Options& options) const override {
    return nominal_affine_bits(static_cast<int>(options.integer("bits")), options.boolean("sym"),
                               options.integer("group_size"));
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_TRY(check_task(task));
    std::vector<std::string> notes;
    FeedbackRule rule;
    rule.grid.bits = static_cast<int>(options.integer("bits"));
    rule.grid.symmetric = options.boolean("sym");
    rule.grid.search_steps = options.boolean("mse") ? 100 : 0;
    rule.grid.scale_type = choose_scale_type(task.weight, rule.grid.bits, &notes);
    rule.static_groups = options.boolean("static_groups");
    AffineCodes codes = AffineCodes::create(task.n, task.k, options.integer("group_size"), rule.grid);

    HessianFactor factor;
    if (has_hessian(task, &notes)) {
      std::vector<int32_t> order;
      if (options.boolean("desc_act")) order = descending_diagonal(task.stats->hessian, task.k);
      factor = factor_hessian(task.stats->hessian, task.k, std::move(order), options.real("damp"), &notes);
    }
    const bool fallback = factor.rt.empty();
    if (fallback) {
      notes.push_back("rounded to nearest instead");
      round_to_nearest(task.weight, rule.grid, {}, {}, *context.team, &codes);
    } else {
      round_with_feedback(task.weight, factor, rule, context, &codes);
    }
    NBL_ASSIGN(Segment segment, codes.pack());
    QTensor tensor = make_qtensor(task.n, task.k, std::move(segment));
    if (!fallback && !rule.static_groups && !factor.order.empty() && codes.groups() > 1) {
      NBL_ASSIGN(tensor.column_order, Storage::copy(std::as_bytes(std::span(factor.order))));
    } else if (!fallback && !rule.static_groups && !factor.order.empty()) {
      // One group a row: the order matters for the rounding only, so the codes go back to their columns.
      AffineCodes plain = codes;
      for (int64_t row = 0; row < task.n; ++row) {
        for (int64_t p = 0; p < task.k; ++p) {
          plain.codes[static_cast<std::size_t>(row * task.k + factor.order[static_cast<std::size_t>(p)])] =
              codes.codes[static_cast<std::size_t>(row * task.k + p)];
        }
      }
      NBL_ASSIGN(Segment ordered, plain.pack());
      tensor = make_qtensor(task.n, task.k, std::move(ordered));
    }
    return finish_result(task, std::move(tensor), std::move(notes), context);
  }
};

}  // namespace

const Method* gptq_method() {
  static const GptqMethod method;
  return &method;
}

}  // namespace nbl::quant
