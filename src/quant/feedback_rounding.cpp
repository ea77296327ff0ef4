#include "quant/feedback_rounding.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/checked.h"
#include "kernels/feedback/feedback.h"
#include "quant/calibrated.h"
#include "quant/linalg.h"

namespace nbl::quant {
namespace {

using kernels::FeedbackArgs;
using kernels::kFeedbackColumns;
using kernels::kPanelRows;

/// The damped, ordered, back-to-front matrix whose lower Cholesky factor is R^T back to front.
std::vector<double> reversed(std::span<const float> hessian, int64_t k, const HessianFactor& factor, double added) {
  std::vector<double> a(static_cast<std::size_t>(k * k));
  for (int64_t i = 0; i < k; ++i) {
    const int64_t p = k - 1 - i;
    const int64_t row = factor.order.empty() ? p : factor.order[static_cast<std::size_t>(p)];
    for (int64_t j = 0; j <= i; ++j) {
      const int64_t c = k - 1 - j;
      const int64_t column = factor.order.empty() ? c : factor.order[static_cast<std::size_t>(c)];
      a[static_cast<std::size_t>(i * k + j)] = static_cast<double>(hessian[static_cast<std::size_t>(row * k + column)]);
    }
    double& diagonal = a[static_cast<std::size_t>(i * k + i)];
    if (factor.dead[static_cast<std::size_t>(p)] != 0) diagonal = 1;
    diagonal += added;
  }
  return a;
}

/// One panel of 32 rows on its way through the columns.
class PanelRounder {
 public:
  PanelRounder(const HessianFactor& factor, const FeedbackRule& rule, const MethodContext& context, AffineCodes* out)
      : factor_(factor),
        rule_(rule),
        out_(*out),
        k_(factor.k),
        group_(rule.static_groups ? k_ : out->group),
        max_code_(static_cast<float>((1 << rule.grid.bits) - 1)),
        feedback_(kernels::select_feedback(context.isa)),
        weight_(k_ * kPanelRows),
        error_(k_ * kPanelRows),
        carried_(group_ * kPanelRows),
        corrected_(group_ * kPanelRows),
        local_(kFeedbackColumns * kPanelRows) {}

  void round(std::span<const float> weight, int64_t row) {
    row_ = row;
    rows_ = std::min<int64_t>(kPanelRows, out_.n - row);
    load_panel(weight, out_.n, k_, row, factor_.order, weight_.data());
    for (int64_t p = 0; p < k_; ++p) {
      if (factor_.dead[static_cast<std::size_t>(p)] != 0) std::fill_n(at(weight_, p), kPanelRows, 0.0f);
    }
    if (rule_.static_groups) find_static_grids(weight);
    for (int64_t begin = 0; begin < k_; begin += group_) round_group(begin, std::min(begin + group_, k_));
  }

 private:
  static float* at(AlignedFloats& panel, int64_t column) { return panel.data() + column * kPanelRows; }

  /// Grids of the original groups, from the weight as it is (dead columns count as zero, as everywhere).
  void find_static_grids(std::span<const float> weight) {
    const int64_t groups = out_.groups();
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t first = g * out_.group, count = std::min(out_.group, k_ - first);
        const Grid grid = find_grid(weight.data() + (row_ + r) * k_ + first, count, 1, rule_.grid, nullptr);
        store_grid(r, g, grid);
      }
    }
  }

  void store_grid(int64_t r, int64_t group, const Grid& grid) {
    const std::size_t at = static_cast<std::size_t>((row_ + r) * out_.groups() + group);
    out_.scales[at] = grid.scale;
    if (!out_.symmetric) out_.zeros[at] = grid.zero;
  }

  Grid stored_grid(int64_t r, int64_t group) const {
    const std::size_t at = static_cast<std::size_t>((row_ + r) * out_.groups() + group);
    return {out_.scales[at], out_.symmetric ? static_cast<float>(1 << (out_.bits - 1)) : out_.zeros[at]};
  }

  void round_group(int64_t begin, int64_t end) {
    // What the errors of all earlier groups add up to in each column of this one.
    for (int64_t j = begin; j < end; j += kFeedbackColumns) {
      const int columns = static_cast<int>(std::min<int64_t>(kFeedbackColumns, end - j));
      feedback_(FeedbackArgs{factor_.rt.data() + j * k_, k_, columns, error_.data(), 0, begin, at(carried_, j - begin)});
    }
    if (!rule_.static_groups) find_group_grids(begin, end);
    for (int64_t j = begin; j < end; j += kFeedbackColumns) {
      const int64_t last = std::min(j + kFeedbackColumns, end);
      feedback_(FeedbackArgs{factor_.rt.data() + j * k_, k_, static_cast<int>(last - j), error_.data(), begin, j,
                             local_.data()});
      for (int64_t c = j; c < last; ++c) round_column(c, begin, j);
    }
  }

  /// The group's columns as they would best be, were none of them rounded: w + x R_gg^-1, x carried in from before.
  void find_group_grids(int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; j += kFeedbackColumns) {
      const int64_t last = std::min(j + kFeedbackColumns, end);
      feedback_(FeedbackArgs{factor_.rt.data() + j * k_ + begin, k_, static_cast<int>(last - j), corrected_.data(), 0,
                             j - begin, local_.data()});
      for (int64_t c = j; c < last; ++c) {
        const float* rt = factor_.rt.data() + c * k_;
        float* y = at(corrected_, c - begin);
        for (int64_t r = 0; r < kPanelRows; ++r) {
          y[r] = at(carried_, c - begin)[r] - at(local_, c - j)[r];
        }
        for (int64_t i = j; i < c; ++i) {
          const float* yi = at(corrected_, i - begin);
          for (int64_t r = 0; r < kPanelRows; ++r) y[r] -= rt[i] * yi[r];
        }
        const float inverse = 1.0f / rt[c];
        for (int64_t r = 0; r < kPanelRows; ++r) y[r] *= inverse;
      }
    }
    for (int64_t c = begin; c < end; ++c) {
      for (int64_t r = 0; r < kPanelRows; ++r) at(corrected_, c - begin)[r] += at(weight_, c)[r];
    }
    for (int64_t r = 0; r < rows_; ++r) {
      const Grid grid = find_grid(corrected_.data() + r, end - begin, kPanelRows, rule_.grid, nullptr);
      store_grid(r, begin / group_, grid);
    }
  }

  void round_column(int64_t c, int64_t begin, int64_t block) {
    const float* rt = factor_.rt.data() + c * k_;
    const int64_t original = factor_.order.empty() ? c : factor_.order[static_cast<std::size_t>(c)];
    const int64_t group = rule_.static_groups ? original / out_.group : begin / group_;
    const int64_t stored = rule_.static_groups ? original : c;
    const bool dead = factor_.dead[static_cast<std::size_t>(c)] != 0;
    float sum[kPanelRows];
    for (int64_t r = 0; r < kPanelRows; ++r) sum[r] = at(carried_, c - begin)[r] + at(local_, c - block)[r];
    for (int64_t i = block; i < c; ++i) {
      const float* e = at(error_, i);
      for (int64_t r = 0; r < kPanelRows; ++r) sum[r] += rt[i] * e[r];
    }
    const float* w = at(weight_, c);
    float* e = at(error_, c);
    const float inverse = dead ? 0.0f : 1.0f / rt[c];
    for (int64_t r = 0; r < rows_; ++r) {
      const Grid grid = stored_grid(r, group);
      const float code = nearest_code(w[r] + sum[r] * inverse, grid, max_code_);
      out_.codes[static_cast<std::size_t>((row_ + r) * k_ + stored)] = static_cast<uint8_t>(code);
      e[r] = w[r] - grid_value(code, grid);
    }
    for (int64_t r = rows_; r < kPanelRows; ++r) e[r] = 0;
  }

  const HessianFactor& factor_;
  const FeedbackRule& rule_;
  AffineCodes& out_;
  int64_t k_, group_;
  float max_code_;
  kernels::FeedbackFn feedback_;
  AlignedFloats weight_, error_;          // [k][32]
  AlignedFloats carried_, corrected_;     // [group][32]
  AlignedFloats local_;                   // [8][32]
  int64_t row_ = 0, rows_ = 0;
};

}  // namespace

std::vector<int32_t> descending_diagonal(std::span<const float> hessian, int64_t k) {
  std::vector<int32_t> order(static_cast<std::size_t>(k));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return hessian[static_cast<std::size_t>(a * (k + 1))] > hessian[static_cast<std::size_t>(b * (k + 1))];
  });
  return order;
}

HessianFactor factor_hessian(std::span<const float> hessian, int64_t k, std::vector<int32_t> order, double damp,
                             std::vector<std::string>* notes) {
  HessianFactor factor;
  factor.k = k;
  factor.order = std::move(order);
  factor.dead.resize(static_cast<std::size_t>(k));
  double trace = 0;
  int64_t dead = 0;
  for (int64_t p = 0; p < k; ++p) {
    const int64_t column = factor.order.empty() ? p : factor.order[static_cast<std::size_t>(p)];
    const double d = static_cast<double>(hessian[static_cast<std::size_t>(column * (k + 1))]);
    if (d <= 0) {
      factor.dead[static_cast<std::size_t>(p)] = 1;
      ++dead;
      trace += 1;
    } else {
      trace += d;
    }
  }
  if (dead > 0) notes->push_back(fmt::format("{} of {} input columns never carried a value", dead, k));
  const double mean = trace / static_cast<double>(k);
  double damping = damp;
  for (int attempt = 0; attempt < 8; ++attempt) {
    std::vector<double> a = reversed(hessian, k, factor, damping * mean);
    if (cholesky_lower(std::span<double>(a), k)) {
      if (attempt > 0) notes->push_back(fmt::format("damping raised from {:g} to {:g}", damp, damping));
      factor.rt.resize(static_cast<std::size_t>(k * k));
      for (int64_t j = 0; j < k; ++j) {
        for (int64_t i = 0; i <= j; ++i) {
          factor.rt[static_cast<std::size_t>(j * k + i)] =
              static_cast<float>(a[static_cast<std::size_t>((k - 1 - i) * k + (k - 1 - j))]);
        }
      }
      return factor;
    }
    damping = std::max(damping * 4, 1e-4);
  }
  notes->push_back(fmt::format("the Hessian is not positive definite even with damping {:g}", damping));
  return factor;
}

void round_with_feedback(std::span<const float> weight, const HessianFactor& factor, const FeedbackRule& rule,
                         const MethodContext& context, AffineCodes* out) {
  const int64_t panels = ceil_div(out->n, kPanelRows);
  context.team->parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
    PanelRounder rounder(factor, rule, context, out);
    for (int64_t p = begin; p < end; ++p) rounder.round(weight, p * kPanelRows);
  });
}

}  // namespace nbl::quant
