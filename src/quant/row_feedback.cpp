#include "quant/row_feedback.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checked.h"
#include "kernels/panel/panel.h"
#include "quant/linalg.h"

namespace nbl::quant {
namespace {

using kernels::FeedbackArgs;
using kernels::kFeedbackColumns;
using kernels::kPanelRows;

/// Least share of the mean diagonal that is added to the moments. prose-28m at 3 bits: 0.1 is best with 16,384 tokens, and what
/// the number of tokens asks for (automatic_damping), where that is more, with 4,096.
constexpr double kLeastDamping = 0.1;
constexpr int64_t kParts = 16;

void take_product(float factor, const float* x, float* sum) {
  for (int64_t l = 0; l < kPanelRows; ++l) sum[l] -= factor * x[l];
}

void multiply(float factor, float* x) {
  for (int64_t l = 0; l < kPanelRows; ++l) x[l] *= factor;
}

/// Positions of a panel hold units that lie a whole number of panels' count apart; an incomplete last unit comes last.
std::vector<int32_t> spread_rows(int64_t n, int64_t unit) {
  const int64_t panels = ceil_div(n, kPanelRows), whole = n / unit;
  std::vector<int32_t> order;
  const auto add = [&](int64_t u) {
    for (int64_t row = u * unit; row < std::min(n, (u + 1) * unit); ++row) order.push_back(static_cast<int32_t>(row));
  };
  for (int64_t p = 0; p < panels; ++p)
    for (int64_t u = p; u < whole; u += panels) add(u);
  if (whole * unit < n) add(whole);
  return order;
}

/// Blocks of `size` numbers each, block order[p] from position p.
template <class T>
void put_back(std::span<const int32_t> order, int64_t size, std::vector<T>* blocks) {
  if (blocks->empty()) return;
  std::vector<T> out(blocks->size());
  for (std::size_t p = 0; p < order.size(); ++p) {
    const auto from = blocks->begin() + static_cast<std::ptrdiff_t>(p) * size;
    std::copy(from, from + size, out.begin() + order[p] * size);
  }
  *blocks = std::move(out);
}

}  // namespace

RowFeedback::RowFeedback(int64_t n, int64_t k, int64_t unit)
    : n_(n),
      k_(k),
      chunks_(ceil_div(k, kPanelRows)),
      order_(spread_rows(n, unit)),
      target_(chunks_ * n * kPanelRows),
      error_(chunks_ * n * kPanelRows),
      asked_(chunks_ * n * kPanelRows) {
  for (Kept* kept : {&target_, &error_, &asked_}) std::fill_n(kept->floats.data(), chunks_ * n * kPanelRows, 0.0f);
}

std::unique_ptr<RowFeedback> RowFeedback::create(const LinearTask& task, int64_t unit, const MethodContext& context,
                                                 std::vector<std::string>* notes) {
  const int64_t n = task.n;
  const std::span<const float> moments = task.output_moments;
  if (moments.empty()) return {};
  if (first_not_finite(moments) != static_cast<int64_t>(moments.size())) {
    notes->push_back("the second moments of the outputs' gradients are not finite somewhere: rows rounded on their own");
    return {};
  }
  double trace = 0;
  for (int64_t i = 0; i < n; ++i) trace += static_cast<double>(moments[static_cast<std::size_t>(i * (n + 1))]);
  if (!(trace > 0)) {
    notes->push_back("no gradient reached the outputs: rows rounded on their own");
    return {};
  }
  std::unique_ptr<RowFeedback> rows(new RowFeedback(n, task.k, unit));
  InputStats stats;
  stats.k = n;
  stats.tokens = task.output_gradients;
  stats.hessian.resize(moments.size());
  const float scale = static_cast<float>(static_cast<double>(n) / trace);  // the gradients' own unit is arbitrary
  for (std::size_t i = 0, at = 0; i < rows->order_.size(); ++i) {
    const float* from = moments.data() + rows->order_[i] * n;
    for (const int32_t j : rows->order_) stats.hessian[at++] = scale * from[j];
  }
  const double damp = std::max(kLeastDamping, automatic_damping(stats.hessian, n, stats.tokens));
  std::vector<std::string> unread;  // in words for inputs
  rows->factor_ = factor_hessian(stats, {}, damp, context, &unread);
  if (rows->factor_.r.empty()) {
    notes->push_back("the second moments of the outputs' gradients cannot be factored: rows rounded on their own");
    return {};
  }
  rows->moments_ = std::move(stats.hessian);
  for (int64_t i = 0; i < n; ++i) {
    float& diagonal = rows->moments_[static_cast<std::size_t>(i * (n + 1))];
    if (diagonal <= 0) diagonal = 1;  // as factor_hessian() has it
    diagonal += rows->factor_.added;
  }
  notes->push_back(fmt::format("rows make good each other's errors ({} gradients, damped by {:.2g})", task.output_gradients, damp));
  return rows;
}

std::vector<float> RowFeedback::ordered(std::span<const float> matrix) const {
  std::vector<float> out;
  out.reserve(matrix.size());
  if (matrix.empty()) return out;
  for (const int32_t row : order_) out.insert(out.end(), matrix.begin() + row * k_, matrix.begin() + (row + 1) * k_);
  return out;
}

void RowFeedback::restore(AffineCodes* codes) const {
  put_back(order_, codes->k, &codes->codes);
  put_back(order_, codes->groups(), &codes->scales);
  put_back(order_, codes->groups(), &codes->zeros);
  std::vector<int32_t> units;
  for (std::size_t p = 0; p < order_.size(); p += static_cast<std::size_t>(codes->step_rows))
    units.push_back(order_[p] / static_cast<int32_t>(codes->step_rows));
  put_back(units, 1, &codes->steps);
}

int64_t RowFeedback::together() const noexcept {
  return kPanelRows * std::max<int64_t>(2, ceil_div(n_, kPanelRows) / kParts);
}

void RowFeedback::ask_of_next(int64_t begin, int64_t end, const MethodContext& context) {
  const auto feedback = kernels::select_panel(static_cast<int>(context.isa)).feedback;
  context.team->parallel_for(chunks_, 1, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      const float* errors = error_.floats.data() + c * n_ * kPanelRows;
      float* asked = asked_.floats.data() + c * n_ * kPanelRows;
      for (int64_t j = begin; j < end; j += kFeedbackColumns) {
        const int count = static_cast<int>(std::min<int64_t>(kFeedbackColumns, end - j));
        feedback(FeedbackArgs{factor_.r.data() + j * n_, n_, count, errors, 0, begin, asked + j * kPanelRows});
      }
      // Were none of these rows rounded, each would take what it is asked, and ask the less of those after it.
      for (int64_t j = begin; j < end; ++j) {
        const float* r = factor_.r.data() + j * n_;
        for (int64_t i = begin; i < j; ++i) take_product(r[i], asked + i * kPanelRows, asked + j * kPanelRows);
        multiply(1.0f / r[j], asked + j * kPanelRows);
      }
    }
  });
}

void RowFeedback::ask_of_again(int64_t begin, int64_t end, const MethodContext& context) {
  const auto feedback = kernels::select_panel(static_cast<int>(context.isa)).feedback;
  const int64_t count = end - begin;
  std::vector<double> own(static_cast<std::size_t>(count * count));  // what these rows cost each other
  for (int64_t i = 0; i < count; ++i)
    std::copy_n(moments_.data() + (begin + i) * n_ + begin, count, own.data() + i * count);
  if (!cholesky_lower(own, count, context)) return;  // what was asked before stays
  const std::vector<float> lower(own.begin(), own.end());
  context.team->parallel_for(chunks_, 1, [&](int64_t first, int64_t last) {
    AlignedFloats behind(kFeedbackColumns * kPanelRows);
    for (int64_t c = first; c < last; ++c) {
      const float* errors = error_.floats.data() + c * n_ * kPanelRows;
      float* asked = asked_.floats.data() + (c * n_ + begin) * kPanelRows;
      for (int64_t j = 0; j < count; j += kFeedbackColumns) {
        const int some = static_cast<int>(std::min<int64_t>(kFeedbackColumns, count - j));
        const float* moments = moments_.data() + (begin + j) * n_;
        feedback(FeedbackArgs{moments, n_, some, errors, 0, begin, asked + j * kPanelRows});
        feedback(FeedbackArgs{moments, n_, some, errors, end, n_, behind.data()});
        for (int64_t i = 0; i < some * kPanelRows; ++i) asked[j * kPanelRows + i] += behind.data()[i];
      }
      for (int64_t j = 0; j < count; ++j) {
        for (int64_t i = 0; i < j; ++i) take_product(lower[static_cast<std::size_t>(j * count + i)], asked + i * kPanelRows, asked + j * kPanelRows);
        multiply(1.0f / lower[static_cast<std::size_t>(j * (count + 1))], asked + j * kPanelRows);
      }
      for (int64_t j = count - 1; j >= 0; --j) {
        for (int64_t i = j + 1; i < count; ++i) take_product(lower[static_cast<std::size_t>(i * count + j)], asked + i * kPanelRows, asked + j * kPanelRows);
        multiply(1.0f / lower[static_cast<std::size_t>(j * (count + 1))], asked + j * kPanelRows);
      }
    }
  });
}

void RowFeedback::load(Kept& from, int64_t row, std::span<const int32_t> order, float* panel) const {
  const int64_t rows = std::min<int64_t>(kPanelRows, n_ - row);
  for (int64_t p = 0; p < k_; ++p, panel += kPanelRows) {
    const int64_t c = order.empty() ? p : order[static_cast<std::size_t>(p)];
    const float* at = from.floats.data() + ((c / kPanelRows) * n_ + row) * kPanelRows + c % kPanelRows;
    for (int64_t r = 0; r < rows; ++r) panel[r] = at[r * kPanelRows];
    std::fill(panel + rows, panel + kPanelRows, 0.0f);
  }
}

void RowFeedback::store(Kept& to, int64_t row, std::span<const int32_t> order, const float* panel) const {
  const int64_t rows = std::min<int64_t>(kPanelRows, n_ - row);
  for (int64_t p = 0; p < k_; ++p, panel += kPanelRows) {
    const int64_t c = order.empty() ? p : order[static_cast<std::size_t>(p)];
    float* at = to.floats.data() + ((c / kPanelRows) * n_ + row) * kPanelRows + c % kPanelRows;
    for (int64_t r = 0; r < rows; ++r) at[r * kPanelRows] = panel[r];
  }
}

}  // namespace nbl::quant
