#include "quant/grid_feedback.h"

#include <algorithm>

#include "base/checked.h"
#include "kernels/panel/panel.h"
#include "quant/calibrated.h"

namespace nbl::quant {

using kernels::FeedbackArgs;
using kernels::kFeedbackColumns;
using kernels::kPanelRows;

namespace {

/// Columns whose earlier errors are summed once: short inner sums, and the far ones stay in a register tile.
constexpr int64_t kRun = 128;

class GridPanel {
 public:
  GridPanel(const LinearTask& task, const HessianFactor& factor, const MethodContext& context, RoundColumn round)
      : task_(task),
        factor_(factor),
        round_(round),
        feedback_(kernels::select_panel(static_cast<int>(context.isa)).feedback),
        target_(factor.k * kPanelRows),
        error_(factor.k * kPanelRows),
        carried_(kRun * kPanelRows),
        local_(kFeedbackColumns * kPanelRows) {}

  void run(int64_t row) {
    const int64_t k = factor_.k, rows = std::min<int64_t>(kPanelRows, task_.n - row);
    load_panel(task_.weight, task_.n, k, row, factor_.order, target_.data());
    for (int64_t begin = 0; begin < k; begin += kRun) {
      const int64_t end = std::min(k, begin + kRun);
      for (int64_t j = begin; j < end; j += kFeedbackColumns) {
        const int columns = static_cast<int>(std::min<int64_t>(kFeedbackColumns, end - j));
        feedback_(FeedbackArgs{factor_.r.data() + j * k, k, columns, error_.data(), 0, begin,
                               carried_.data() + (j - begin) * kPanelRows});
      }
      for (int64_t j = begin; j < end; j += kFeedbackColumns) {
        const int64_t last = std::min(j + kFeedbackColumns, end);
        feedback_(FeedbackArgs{factor_.r.data() + j * k, k, static_cast<int>(last - j), error_.data(), begin, j, local_.data()});
        for (int64_t c = j; c < last; ++c) column(row, rows, c, j, carried_.data() + (c - begin) * kPanelRows);
      }
    }
  }

 private:
  void column(int64_t row, int64_t rows, int64_t c, int64_t block, const float* carried) {
    const float* r = factor_.r.data() + c * factor_.k;
    const bool dead = factor_.dead[static_cast<std::size_t>(c)] != 0;
    const float inverse = dead ? 0.0f : 1.0f / r[c];
    float sum[kPanelRows], wanted[kPanelRows], value[kPanelRows];
    for (int64_t l = 0; l < kPanelRows; ++l) sum[l] = carried[l] + local_.data()[(c - block) * kPanelRows + l];
    for (int64_t i = block; i < c; ++i) {
      const float* e = error_.data() + i * kPanelRows;
      for (int64_t l = 0; l < kPanelRows; ++l) sum[l] += r[i] * e[l];
    }
    const float* t = target_.data() + c * kPanelRows;
    for (int64_t l = 0; l < kPanelRows; ++l) {
      wanted[l] = dead ? 0.0f : t[l] + sum[l] * inverse;
      value[l] = 0;
    }
    round_(row, rows, factor_.order.empty() ? c : factor_.order[static_cast<std::size_t>(c)], wanted, value);
    float* e = error_.data() + c * kPanelRows;
    for (int64_t l = 0; l < kPanelRows; ++l) e[l] = dead || l >= rows ? 0.0f : t[l] - value[l];
  }

  const LinearTask& task_;
  const HessianFactor& factor_;
  RoundColumn round_;
  void (*feedback_)(const FeedbackArgs&);
  AlignedFloats target_, error_;  // [k][32], by position
  AlignedFloats carried_, local_;
};

}  // namespace

void round_on_grids(const LinearTask& task, const HessianFactor& factor, const MethodContext& context, RoundColumn round) {
  context.team->parallel_for(ceil_div(task.n, kPanelRows), 1, [&](int64_t begin, int64_t end) {
    GridPanel panel(task, factor, context, round);
    for (int64_t p = begin; p < end; ++p) panel.run(p * kPanelRows);
  });
}

HessianFactor feedback_factor(const LinearTask& task, double damp, const MethodContext& context,
                              std::vector<std::string>* notes) {
  if (!has_hessian(task, notes)) return {};
  return factor_hessian(*task.stats, descending_diagonal(task.stats->hessian, task.k), damp, context, notes);
}

}  // namespace nbl::quant
