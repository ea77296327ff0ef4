// gptq: columns are rounded one after the other, each one's error corrected by those that follow (Frantar et al., 2022).
#include <fmt/format.h>

#include <memory>

#include "quant/affine.h"
#include "quant/calibrated.h"
#include "quant/feedback_rounding.h"
#include "quant/gptq_options.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

namespace opt = gptq_options;

const OptionSpec kOptions[] = {
    opt::bits,
    opt::group_size,
    opt::sym,
    opt::scale_bits,
    {"desc_act", OptionSpec::Type::boolean, "false", 0, 1, {}, "columns and groups in falling order of their activations"},
    {"act_group_aware", OptionSpec::Type::boolean, "true", 0, 1, {}, "the same order as far as groups can stay neighbours"},
    {"static_groups", OptionSpec::Type::boolean, "false", 0, 1, {}, "grids found before anything is rounded"},
    opt::mse,
    opt::alpha,
    opt::beta,
    opt::correct,
    opt::even_tokens,
    opt::output_tokens,
    opt::refine,
    {"true_sequential", OptionSpec::Type::boolean, "true", 0, 1, {}, "statistics of an input follow what is quantized before it in its layer"},
    {"block_size", OptionSpec::Type::integer, "128", 8, 65536, {}, "columns whose errors are passed on together; changes roundings alone"},
    kDampOption,
};

/// Whether the sums of a correction are there and are numbers.
bool usable(std::span<const float> sums, std::string_view of, std::vector<std::string>* notes) {
  if (sums.empty()) return false;
  if (first_not_finite(sums) == static_cast<int64_t>(sums.size())) return true;
  notes->push_back(fmt::format("the error of the {} is not finite somewhere: not corrected", of));
  return false;
}

class GptqMethod final : public Method {
 public:
  std::string_view id() const override { return "gptq"; }
  std::string_view summary() const override { return "rounding with error feedback through the input's second moments"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override {
    NBL_TRY(check_scale_bits(options));
    return check_group_size(options.integer("group_size"));
  }
  uint32_t needs(const Options& options) const override {
    return correction_needs(options);
  }
  bool sequential(const Options& options) const override { return options.boolean("true_sequential"); }
  double original_share(const Options& options) const override { return options.real("correct"); }
  int64_t output_tokens(const Options& options) const override { return options.integer("output_tokens"); }
  double nominal_bits(const Options& options) const override {
    return nominal_affine_bits(static_cast<int>(options.integer("bits")), options.boolean("sym"),
                               options.integer("group_size"), static_cast<int>(options.integer("scale_bits")));
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_TRY(check_task(task));
    std::vector<std::string> notes;
    FeedbackRule rule;
    rule.grid.bits = static_cast<int>(options.integer("bits"));
    rule.grid.symmetric = options.boolean("sym");
    rule.grid.search_steps = static_cast<int>(options.integer("mse"));
    rule.grid.scale_type = choose_scale_type(task.weight, rule.grid.bits, &notes);
    rule.refine = static_cast<int>(options.integer("refine"));
    rule.block = options.integer("block_size");
    AffineCodes codes = AffineCodes::create(task.n, task.k, options.integer("group_size"), rule.grid);
    if (const int scale_bits = static_cast<int>(options.integer("scale_bits")); scale_bits > 0)
      codes.code_scales(task.weight, scale_bits, context);
    const bool by_activation = options.boolean("desc_act");
    // With one group a row every order keeps the group together, and none needs to be stored.
    if (options.boolean("static_groups")) {
      rule.groups = Groups::fixed;
    } else if (by_activation && codes.groups() > 1) {
      rule.groups = Groups::packed;
    }

    HessianFactor factor;
    if (has_hessian(task, &notes)) {
      std::vector<int32_t> order;
      if (by_activation) {
        order = descending_diagonal(task.stats->hessian, task.k);
      } else if (options.boolean("act_group_aware")) {
        order = descending_groups(task.stats->hessian, task.k, codes.group);
      }
      factor = factor_hessian(*task.stats, std::move(order), damping_of(options), context, &notes);
      choose_corrections(task, options, &rule, &notes);
    }
    const bool fallback = factor.r.empty();
    if (fallback) {
      notes.push_back("rounded to nearest instead");
      round_to_nearest(task.weight, rule.grid, {}, context, &codes);
    } else {
      const std::unique_ptr<RowFeedback> rows = RowFeedback::create(task, codes.step_rows, context, &notes);
      rule.rows = rows.get();
      round_with_feedback(task, factor, rule, context, &codes);
    }
    NBL_ASSIGN(Segment segment, codes.pack());
    QTensor tensor = make_qtensor(task.n, task.k, std::move(segment));
    if (!fallback && rule.groups == Groups::packed) {
      NBL_ASSIGN(tensor.column_order, Storage::copy(std::as_bytes(std::span(factor.order))));
    }
    NBL_ASSIGN(LinearResult result, finish_result(task, std::move(tensor), std::move(notes), context));
    if (fallback || rule.groups != Groups::packed) result.affine = std::make_shared<AffineCodes>(std::move(codes));
    return result;
  }
};

}  // namespace

Status check_scale_bits(const Options& options) {
  const int64_t bits = options.integer("scale_bits");
  if (bits != 1 && bits != 2) return {};
  return {Code::invalid_argument, fmt::format("scale_bits is {}, expected 0 or 3 to 8", bits)};
}

void choose_corrections(const LinearTask& task, const Options& options, FeedbackRule* rule, std::vector<std::string>* notes) {
  if (usable(task.stats->cross, "input", notes)) rule->alpha = options.real("alpha");
  if (usable(task.stats->residual, "residual stream", notes)) rule->beta = options.real("beta");
}

Result<Recipe> gptq_of(const Options& options, std::initializer_list<std::string_view> names, std::string_view more) {
  std::string text = "gptq:";
  for (const std::string_view name : names) text += fmt::format("{}={},", name, options.text(name));
  text += more;
  if (text.back() == ',') text.pop_back();
  return parse_recipe(text);
}

const Method* gptq_method() {
  static const GptqMethod method;
  return &method;
}

}  // namespace nbl::quant
