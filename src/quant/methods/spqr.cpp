// spqr: small groups whose scales and minimums are quantized themselves, and the weights that matter most kept beside them in 16 bits
// (Dettmers et al., 2023). Columns are taken by falling activation, every error fed into those after it. An outlier is a weight
// whose rounding error, squared and weighed by its input, is among the largest.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "quant/affine.h"
#include "quant/block_search.h"
#include "quant/calibrated.h"
#include "quant/grid_feedback.h"
#include "quant/method.h"

namespace nbl::quant {
namespace {

const OptionSpec kOptions[] = {
    {"bits", OptionSpec::Type::integer, "3", 2, 4, {}, "bits a weight"},
    {"group_size", OptionSpec::Type::integer, "16", 16, 1024, {}, "weights that share a scale"},
    {"scale_bits", OptionSpec::Type::integer, "3", 2, 8, {}, "bits of a scale and of a minimum"},
    {"super_size", OptionSpec::Type::integer, "16", 1, 4096, {}, "rows that share the 16-bit numbers of these"},
    {"outliers", OptionSpec::Type::real, "0.01", 0, 0.5, {}, "share of the weights kept in 16 bits"},
    {"act_order", OptionSpec::Type::boolean, "false", 0, 1, {}, "columns and groups in falling order of their activations"},
    kDampOption,
};

/// The weight in packed order with everything found before it is rounded.
struct Plan {
  int64_t n, k, group, groups;
  int bits;
  std::vector<int32_t> order, place;    ///< packed position -> column, and back
  std::vector<float> weight, importance;  ///< packed order
  std::vector<uint8_t> outlier;         ///< [n, k] packed
  std::vector<BlockFit> fits;           ///< [n, groups]

  int max_code() const { return (1 << bits) - 1; }
  int64_t count(int64_t g) const { return std::min(group, k - g * group); }
};

/// The weights of a row's group that are no outliers, and their importance.
void kept_of_group(const Plan& plan, int64_t row, int64_t g, std::vector<float>* w, std::vector<float>* h) {
  w->clear();
  h->clear();
  for (int64_t p = g * plan.group; p < g * plan.group + plan.count(g); ++p) {
    const std::size_t at = static_cast<std::size_t>(row * plan.k + p);
    if (plan.outlier[at] != 0) continue;
    w->push_back(plan.weight[at]);
    h->push_back(plan.importance[static_cast<std::size_t>(p)]);
  }
}

/// Grids of each group; outliers have no say in theirs.
void fit_groups(Plan& plan, const MethodContext& context) {
  context.team->parallel_for(plan.n, 4, [&](int64_t begin, int64_t end) {
    std::vector<float> w, h;
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t g = 0; g < plan.groups; ++g) {
        kept_of_group(plan, row, g, &w, &h);
        BlockFit& fit = plan.fits[static_cast<std::size_t>(row * plan.groups + g)];
        fit = w.empty() ? BlockFit{} : fit_minimum(w.data(), h.data(), static_cast<int64_t>(w.size()), plan.max_code(), false, 20);
      }
    }
  });
}

/// Marks the share of weights whose rounding costs most.
void choose_outliers(Plan& plan, double share, const MethodContext& context) {
  const int64_t wanted = static_cast<int64_t>(share * static_cast<double>(plan.n * plan.k));
  if (wanted < 1) return;
  std::vector<float> cost(plan.weight.size());
  context.team->parallel_for(plan.n, 4, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t p = 0; p < plan.k; ++p) {
        const BlockFit& fit = plan.fits[static_cast<std::size_t>(row * plan.groups + p / plan.group)];
        const std::size_t at = static_cast<std::size_t>(row * plan.k + p);
        const float value = fit.scale * static_cast<float>(minimum_code(plan.weight[at], fit, plan.max_code())) + fit.minimum;
        const float error = plan.weight[at] - value;
        cost[at] = error * error * plan.importance[static_cast<std::size_t>(p)];
      }
    }
  });
  std::vector<float> sorted = cost;
  const auto cut = sorted.end() - wanted;
  std::nth_element(sorted.begin(), cut, sorted.end());
  for (std::size_t i = 0; i < cost.size(); ++i) plan.outlier[i] = cost[i] > 0 && cost[i] >= *cut ? 1 : 0;
}

/// One number of every group in `bits` bits: blocks of `rows` rows x 1 group from their smallest to their largest value.
struct Statistic {
  int64_t rows = 16;
  int top = 7;                           ///< the largest code
  std::vector<uint8_t> codes;            ///< [n, groups]
  std::vector<float> supers, addends;    ///< [blocks of rows, groups]

  float value(const Plan& plan, int64_t row, int64_t g, int code) const {
    const std::size_t block = static_cast<std::size_t>(row / rows * plan.groups + g);
    return supers[block] * static_cast<float>(code) + addends[block];
  }
};

Statistic quantize_statistic(const Plan& plan, const std::vector<float>& values, int bits, int64_t rows) {
  Statistic s;
  s.rows = rows;
  s.top = (1 << bits) - 1;
  s.codes.resize(values.size());
  const float top = static_cast<float>(s.top);
  const auto half = [](float x) { return f16_to_f32(f32_to_f16(std::clamp(x, -65504.0f, 65504.0f))); };
  for (int64_t r = 0; r < plan.n; r += rows) {
    const int64_t last = std::min(plan.n, r + rows);
    for (int64_t g = 0; g < plan.groups; ++g) {
      float low = INFINITY, high = -INFINITY;
      for (int64_t i = r; i < last; ++i) {
        low = std::min(low, values[static_cast<std::size_t>(i * plan.groups + g)]);
        high = std::max(high, values[static_cast<std::size_t>(i * plan.groups + g)]);
      }
      const float super = half((high - low) / top), addend = half(low);
      s.supers.push_back(super);
      s.addends.push_back(addend);
      for (int64_t i = r; i < last; ++i) {
        const std::size_t at = static_cast<std::size_t>(i * plan.groups + g);
        s.codes[at] = super > 0 ? static_cast<uint8_t>(round_even(std::clamp((values[at] - addend) / super, 0.0f, top))) : uint8_t{0};
      }
    }
  }
  return s;
}

/// Each group's two codes to those of the least error together: a scale that was rounded down may want a lower minimum.
void choose_together(const Plan& plan, Statistic* scale, Statistic* minimum, const MethodContext& context) {
  context.team->parallel_for(plan.n, 4, [&](int64_t begin, int64_t end) {
    std::vector<float> w, h;
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t g = 0; g < plan.groups; ++g) {
        kept_of_group(plan, row, g, &w, &h);
        if (w.empty()) continue;
        const std::size_t at = static_cast<std::size_t>(row * plan.groups + g);
        double least = INFINITY;
        int best_scale = scale->codes[at], best_minimum = minimum->codes[at];
        for (int sc = 0; sc <= scale->top; ++sc) {
          const float step = scale->value(plan, row, g, sc);
          if (!(step > 0)) continue;
          for (int mc = std::max(0, minimum->codes[at] - 2); mc <= std::min(minimum->top, minimum->codes[at] + 2); ++mc) {
            const BlockFit fit{step, minimum->value(plan, row, g, mc)};
            const double error = minimum_error(w.data(), h.data(), static_cast<int64_t>(w.size()), plan.max_code(), fit);
            if (!(error < least)) continue;
            least = error;
            best_scale = sc;
            best_minimum = mc;
          }
        }
        scale->codes[at] = static_cast<uint8_t>(best_scale);
        minimum->codes[at] = static_cast<uint8_t>(best_minimum);
      }
    }
  });
}

Result<ScaleCodes> stored(const Plan& plan, const Statistic& s, int bits) {
  ScaleCodes form;
  form.bits = bits;
  form.rows = s.rows;
  return make_scale_codes(plan.n, plan.groups, form, {s.codes, s.supers, s.addends, {}});
}

class SpqrMethod final : public Method {
 public:
  std::string_view id() const override { return "spqr"; }
  std::string_view summary() const override { return "small groups with quantized scales, the weights that matter most in 16 bits"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override { return check_group_size(options.integer("group_size")); }
  uint32_t needs(const Options&) const override { return kNeedHessian; }
  double nominal_bits(const Options& options) const override {
    const double group = static_cast<double>(options.integer("group_size")), rows = static_cast<double>(options.integer("super_size"));
    return static_cast<double>(options.integer("bits")) + (2 * static_cast<double>(options.integer("scale_bits")) + 64 / rows) / group +
           48 * options.real("outliers");
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_TRY(check_task(task));
    std::vector<std::string> notes;
    const HessianFactor factor = feedback_factor(task, damping_of(options), context, &notes);
    Plan plan = make_plan(task, options);
    fit_groups(plan, context);
    choose_outliers(plan, options.real("outliers"), context);
    fit_groups(plan, context);

    std::vector<float> scales, minimums;
    for (const BlockFit& fit : plan.fits) {
      scales.push_back(fit.scale);
      minimums.push_back(fit.minimum);
    }
    const int scale_bits = static_cast<int>(options.integer("scale_bits"));
    Statistic scale = quantize_statistic(plan, scales, scale_bits, options.integer("super_size"));
    Statistic minimum = quantize_statistic(plan, minimums, scale_bits, options.integer("super_size"));
    choose_together(plan, &scale, &minimum, context);
    NBL_ASSIGN(ScaleCodes scale_codes, stored(plan, scale, scale_bits));
    NBL_ASSIGN(ScaleCodes zero_codes, stored(plan, minimum, scale_bits));
    scales = scale_codes.expand(plan.n, plan.groups);
    minimums = zero_codes.expand(plan.n, plan.groups);

    std::vector<uint8_t> codes(task.weight.size());
    std::vector<uint16_t> kept(task.weight.size());  // f16 of outliers, packed order
    const auto round = [&](int64_t row, int64_t column, float w, float* value) {
      const int64_t p = plan.place[static_cast<std::size_t>(column)];
      const std::size_t at = static_cast<std::size_t>(row * plan.k + p), g = static_cast<std::size_t>(row * plan.groups + p / plan.group);
      const BlockFit fit{scales[g], minimums[g]};
      codes[at] = minimum_code(w, fit, plan.max_code());
      *value = fit.scale * static_cast<float>(codes[at]) + fit.minimum;
      if (plan.outlier[at] == 0) return;
      kept[at] = f32_to_f16(std::clamp(w - *value, -65504.0f, 65504.0f));
      *value += f16_to_f32(kept[at]);
    };
    if (factor.r.empty()) {
      notes.push_back("rounded to nearest instead");
      for (int64_t i = 0; i < plan.n * plan.k; ++i) {
        float value;
        round(i / plan.k, i % plan.k, task.weight[static_cast<std::size_t>(i)], &value);
      }
    } else {
      round_on_grids(task, factor, context, [&](int64_t row, int64_t rows, int64_t column, const float* target, float* value) {
        for (int64_t r = 0; r < rows; ++r) round(row + r, column, target[r], value + r);
      });
    }

    AffineParts parts;
    parts.bits = plan.bits;
    parts.group_size = stored_group(plan.group, plan.k);
    parts.codes = codes;
    parts.scales = scales;
    parts.scale_type = DType::f32;
    parts.zero_kind = ZeroKind::minimum;
    parts.zeros = minimums;
    parts.zero_type = DType::f32;
    NBL_ASSIGN(Segment segment, pack_affine(plan.n, plan.k, parts));
    NBL_TRY(set_scale_codes(plan.n, std::move(scale_codes), &segment));
    NBL_TRY(set_zero_codes(plan.n, std::move(zero_codes), &segment));
    QTensor tensor = make_qtensor(plan.n, plan.k, std::move(segment));
    if (!std::is_sorted(plan.order.begin(), plan.order.end())) {
      NBL_ASSIGN(tensor.column_order, Storage::copy(std::as_bytes(std::span(plan.order))));
    }
    NBL_TRY(add_outliers(plan, kept, &tensor));
    return finish_result(task, std::move(tensor), std::move(notes), context);
  }

 private:
  static Plan make_plan(const LinearTask& task, const Options& options) {
    Plan plan;
    plan.n = task.n;
    plan.k = task.k;
    plan.group = effective_group(options.integer("group_size"), task.k);
    plan.groups = (task.k + plan.group - 1) / plan.group;
    plan.bits = static_cast<int>(options.integer("bits"));
    const std::vector<float> importance = column_importance(task);
    if (options.boolean("act_order") && !importance.empty()) {
      plan.order = descending_diagonal(task.stats->hessian, task.k);
    } else {
      for (int64_t c = 0; c < task.k; ++c) plan.order.push_back(static_cast<int32_t>(c));
    }
    plan.place.resize(plan.order.size());
    plan.weight.resize(task.weight.size());
    plan.outlier.resize(task.weight.size());
    plan.fits.resize(static_cast<std::size_t>(task.n * plan.groups));
    for (std::size_t p = 0; p < plan.order.size(); ++p) {
      const std::size_t column = static_cast<std::size_t>(plan.order[p]);
      plan.place[column] = static_cast<int32_t>(p);
      plan.importance.push_back(importance.empty() ? 1.0f : importance[column]);
      for (std::size_t row = 0; row < static_cast<std::size_t>(task.n); ++row) {
        plan.weight[row * plan.order.size() + p] = task.weight[row * plan.order.size() + column];
      }
    }
    return plan;
  }

  static Status add_outliers(const Plan& plan, const std::vector<uint16_t>& kept, QTensor* tensor) {
    std::vector<int32_t> offsets = {0}, columns;
    std::vector<uint16_t> values;
    for (int64_t row = 0; row < plan.n; ++row) {
      for (int64_t column = 0; column < plan.k; ++column) {
        const std::size_t at = static_cast<std::size_t>(row * plan.k + plan.place[static_cast<std::size_t>(column)]);
        if (plan.outlier[at] == 0) continue;
        columns.push_back(static_cast<int32_t>(column));
        values.push_back(kept[at]);
      }
      offsets.push_back(static_cast<int32_t>(columns.size()));
    }
    if (columns.empty()) return {};
    Outliers outliers;
    outliers.count = static_cast<int64_t>(columns.size());
    NBL_ASSIGN(outliers.row_offsets, Storage::copy(std::as_bytes(std::span(offsets))));
    NBL_ASSIGN(outliers.columns, Storage::copy(std::as_bytes(std::span(columns))));
    NBL_ASSIGN(outliers.values, Storage::copy(std::as_bytes(std::span(values))));
    tensor->outliers = std::move(outliers);
    return {};
  }
};

}  // namespace

const Method* spqr_method() {
  static const SpqrMethod method;
  return &method;
}

}  // namespace nbl::quant
