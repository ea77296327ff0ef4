// awq: columns that meet large activations are scaled up before rounding (and the producer of the input scaled down), and
// every group's range is clipped where that lowers the error (Lin et al., 2023). Both searches measure the error of the layer's
// output through the Hessian, tr(E H E^T), so no activations are kept.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "kernels/panel/panel.h"
#include "quant/affine.h"
#include "quant/awq_options.h"
#include "quant/calibrated.h"
#include "quant/gptq_options.h"
#include "quant/method.h"

namespace nbl::quant {

using kernels::kPanelRows;

namespace {

const OptionSpec kOptions[] = {
    gptq_options::bits,
    gptq_options::group_size,
    gptq_options::sym,
    awq_options::duo,
    {"clip", OptionSpec::Type::boolean, "true", 0, 1, {}, "search each group's clipping"},
    awq_options::grid,
};

GridRule grid_rule(const Options& options) {
  GridRule rule;
  rule.bits = static_cast<int>(options.integer("bits"));
  rule.symmetric = options.boolean("sym");
  return rule;
}

/// Mean over all rows of |w| relative to the largest magnitude of its group: how much of its group's range a column uses.
std::vector<double> weight_magnitudes(std::span<const LinearTask> linears, int64_t group) {
  const int64_t k = linears.front().k;
  std::vector<double> mean(static_cast<std::size_t>(k));
  int64_t rows = 0;
  for (const LinearTask& linear : linears) {
    rows += linear.n;
    for (int64_t row = 0; row < linear.n; ++row) {
      const float* w = linear.weight.data() + row * k;
      for (int64_t first = 0; first < k; first += group) {
        const int64_t end = std::min(first + group, k);
        float reach = 0;
        for (int64_t i = first; i < end; ++i) reach = std::max(reach, std::fabs(w[i]));
        if (reach <= 0) continue;
        for (int64_t i = first; i < end; ++i) {
          mean[static_cast<std::size_t>(i)] += static_cast<double>(std::fabs(w[i]) / reach);
        }
      }
    }
  }
  for (double& m : mean) m /= static_cast<double>(rows);
  return mean;
}

/// x^ratio / m^(1 - ratio), centred so that the largest and the smallest are reciprocal.
std::vector<float> candidate_scales(std::span<const float> activation, std::span<const double> magnitude, double ratio,
                                    bool duo) {
  std::vector<double> s(activation.size());
  double low = 1e300, high = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    s[i] = std::pow(static_cast<double>(activation[i]), ratio);
    if (duo) s[i] /= std::pow(magnitude[i], 1 - ratio) + 1e-4;
    s[i] = std::max(s[i], 1e-4);
    low = std::min(low, s[i]);
    high = std::max(high, s[i]);
  }
  const double centre = std::sqrt(low * high);
  std::vector<float> scales(s.size());
  for (std::size_t i = 0; i < s.size(); ++i) {
    const double value = s[i] / centre;
    scales[i] = activation[i] > 0 && std::isfinite(value) ? static_cast<float>(value) : 1.0f;
  }
  return scales;
}

/// The group's output error when every weight is multiplied by s, rounded, and divided by s again.
double error_with_scales(std::span<const LinearTask> linears, std::span<const float> scales, const GridRule& rule,
                         int64_t group, const MethodContext& context) {
  const int64_t k = linears.front().k;
  const float max_code = static_cast<float>((1 << rule.bits) - 1);
  double total = 0;
  for (const LinearTask& linear : linears) {
    const int64_t panels = ceil_div(linear.n, kPanelRows);
    std::vector<double> parts(static_cast<std::size_t>(panels));
    context.team->parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
      AlignedFloats panel(k * kPanelRows);
      for (int64_t p = begin; p < end; ++p) {
        load_panel(linear.weight, linear.n, k, p * kPanelRows, {}, panel.data());
        for (int64_t first = 0; first < k; first += group) {
          const int64_t last = std::min(first + group, k);
          for (int64_t i = first; i < last; ++i) {
            float* w = panel.data() + i * kPanelRows;
            for (int64_t r = 0; r < kPanelRows; ++r) w[r] *= scales[static_cast<std::size_t>(i)];
          }
          Grid grids[kPanelRows];
          find_grids(panel.data() + first * kPanelRows, last - first, rule, nullptr, nullptr, context.isa, grids);
          for (int64_t i = first; i < last; ++i) {
            float* w = panel.data() + i * kPanelRows;
            const float inverse = 1.0f / scales[static_cast<std::size_t>(i)];
            for (int64_t r = 0; r < kPanelRows; ++r) {
              w[r] = (w[r] - grid_value(nearest_code(w[r], grids[r], max_code), grids[r])) * inverse;
            }
          }
        }
        parts[static_cast<std::size_t>(p)] = panel_quadratic_error(panel.data(), linear.stats->hessian, k, context.isa);
      }
    });
    for (double part : parts) total += part;
  }
  return total;
}

/// e H e^T of each row of a panel [count][32], h [count, count].
void row_errors(const float* panel, const float* h, int64_t count, const MethodContext& context, double* out) {
  const auto feedback = kernels::select_panel(static_cast<int>(context.isa)).feedback;
  alignas(64) float product[kernels::kFeedbackColumns * kPanelRows];
  kernels::FeedbackArgs args{};
  args.lda = count;
  args.panel = panel;
  args.begin = 0;
  args.end = count;
  args.out = product;
  std::fill_n(out, kPanelRows, 0.0);
  for (int64_t j = 0; j < count; j += kernels::kFeedbackColumns) {
    args.a = h + j * count;
    args.columns = static_cast<int>(std::min<int64_t>(kernels::kFeedbackColumns, count - j));
    feedback(args);
    for (int64_t c = 0; c < args.columns; ++c) {
      for (int64_t r = 0; r < kPanelRows; ++r) {
        out[r] += static_cast<double>(product[c * kPanelRows + r] * panel[(j + c) * kPanelRows + r]);
      }
    }
  }
}

/// For each row and group the factor of the range, 1 down to 0.55, with the least error through the group's own block of the
/// Hessian.
std::vector<float> search_clipping(const LinearTask& task, const GridRule& rule, int64_t group, const MethodContext& context) {
  const int64_t k = task.k, groups = ceil_div(k, group), panels = ceil_div(task.n, kPanelRows);
  const float max_code = static_cast<float>((1 << rule.bits) - 1);
  constexpr int kSteps = 20, kTried = 10;
  std::vector<float> clip(static_cast<std::size_t>(task.n * groups), 1.0f);
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t first = g * group, count = std::min(group, k - first);
    std::vector<float> block(static_cast<std::size_t>(count * count));
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(task.stats->hessian.data() + (first + i) * k + first, count, block.data() + i * count);
    }
    context.team->parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
      AlignedFloats panel(count * kPanelRows), e(count * kPanelRows);
      for (int64_t p = begin; p < end; ++p) {
        const int64_t rows = std::min<int64_t>(kPanelRows, task.n - p * kPanelRows);
        std::fill_n(panel.data(), count * kPanelRows, 0.0f);
        for (int64_t r = 0; r < rows; ++r) {
          const float* w = task.weight.data() + (p * kPanelRows + r) * k + first;
          for (int64_t i = 0; i < count; ++i) panel.data()[i * kPanelRows + r] = w[i];
        }
        double least[kPanelRows], error[kPanelRows];
        for (int step = 0; step < kTried; ++step) {
          const float factor = 1.0f - static_cast<float>(step) / kSteps;
          float factors[kPanelRows];
          std::fill_n(factors, kPanelRows, factor);
          Grid grids[kPanelRows];
          find_grids(panel.data(), count, rule, nullptr, factors, context.isa, grids);
          for (int64_t i = 0; i < count; ++i) {
            for (int64_t r = 0; r < kPanelRows; ++r) {
              const float w = panel.data()[i * kPanelRows + r];
              e.data()[i * kPanelRows + r] = w - grid_value(nearest_code(w, grids[r], max_code), grids[r]);
            }
          }
          row_errors(e.data(), block.data(), count, context, error);
          for (int64_t r = 0; r < rows; ++r) {
            if (step > 0 && !(error[r] < least[r])) continue;
            least[r] = error[r];
            clip[static_cast<std::size_t>((p * kPanelRows + r) * groups + g)] = factor;
          }
        }
      }
    });
  }
  return clip;
}

class AwqMethod final : public Method {
 public:
  std::string_view id() const override { return "awq"; }
  std::string_view summary() const override { return "activation-aware scaling and clipping, then nearest rounding"; }
  std::span<const OptionSpec> options() const override { return kOptions; }
  Status check(const Options& options) const override { return check_group_size(options.integer("group_size")); }
  uint32_t needs(const Options&) const override { return kNeedHessian | kNeedAbsMean; }
  double nominal_bits(const Options& options) const override {
    return nominal_affine_bits(static_cast<int>(options.integer("bits")), options.boolean("sym"),
                               options.integer("group_size"));
  }

  Result<std::vector<float>> input_scales(std::span<const LinearTask> group, const Options& options,
                                          const MethodContext& context) const override {
    if (group.empty()) return std::vector<float>{};
    const InputStats* stats = group.front().stats;
    for (const LinearTask& linear : group) {
      NBL_TRY(check_task(linear));
      if (linear.stats != stats || linear.k != group.front().k) {
        return Status(Code::internal, fmt::format("{} does not share the input of {}", linear.name, group.front().name));
      }
    }
    if (!has_hessian(group.front(), nullptr) || static_cast<int64_t>(stats->abs_mean.size()) != stats->k) {
      return std::vector<float>{};
    }
    const GridRule rule = grid_rule(options);
    const int64_t width = effective_group(options.integer("group_size"), stats->k);
    const bool duo = options.boolean("duo");
    const std::vector<double> magnitude = weight_magnitudes(group, width);
    const int64_t steps = options.integer("grid");
    std::vector<float> best;  // empty: no scaling is best
    double least = error_with_scales(group, std::vector<float>(static_cast<std::size_t>(stats->k), 1.0f), rule, width, context);
    for (int64_t step = duo ? 0 : 1; step < steps; ++step) {
      NBL_TRY(report_progress(context.progress, {"quantize", group.front().name, step, steps}));
      const double ratio = static_cast<double>(step) / static_cast<double>(steps);
      std::vector<float> scales = candidate_scales(stats->abs_mean, magnitude, ratio, duo);
      tie_scales(group.front().producer_rows, &scales);
      const double error = error_with_scales(group, scales, rule, width, context);
      if (error < least) {
        least = error;
        best = std::move(scales);
      }
    }
    return best;
  }

  Result<LinearResult> quantize(const LinearTask& task, const Options& options,
                                const MethodContext& context) const override {
    NBL_TRY(check_task(task));
    std::vector<std::string> notes;
    GridRule rule = grid_rule(options);
    rule.scale_type = choose_scale_type(task.weight, rule.bits, &notes);
    AffineCodes codes = AffineCodes::create(task.n, task.k, options.integer("group_size"), rule);
    std::vector<float> clip;
    if (!has_hessian(task, &notes)) {
      notes.push_back("rounded to nearest without clipping");
    } else if (options.boolean("clip")) {
      clip = search_clipping(task, rule, codes.group, context);
    }
    round_to_nearest(task.weight, rule, clip, context, &codes);
    NBL_ASSIGN(Segment segment, codes.pack());
    return finish_result(task, make_qtensor(task.n, task.k, std::move(segment)), std::move(notes), context);
  }
};

}  // namespace

const Method* awq_method() {
  static const AwqMethod method;
  return &method;
}

}  // namespace nbl::quant
