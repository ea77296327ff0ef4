#include "quant/linalg.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <Eigen/QR>
#include <algorithm>
#include <cmath>

#include "kernels/panel/panel.h"
#include "quant/calibrated.h"

namespace nbl::quant {
namespace {

using kernels::Feedback64Args;
using kernels::kFeedbackColumns;
using kernels::kPanelRows64;

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Factors the block of `count` columns at `first`, already freed of what lies left of it.
bool factor_diagonal_block(std::span<double> a, int64_t n, int64_t first, int64_t count) {
  Eigen::Map<Matrix, 0, Eigen::OuterStride<>> block(a.data() + first * n + first, count, count, Eigen::OuterStride<>(n));
  Eigen::LLT<Matrix, Eigen::Lower> llt(block);
  if (llt.info() != Eigen::Success) return false;
  for (int64_t i = 0; i < count; ++i) {
    if (!(llt.matrixLLT()(i, i) > 0) || !std::isfinite(llt.matrixLLT()(i, i))) return false;
    for (int64_t j = 0; j <= i; ++j) block(i, j) = llt.matrixLLT()(i, j);
  }
  return true;
}

}  // namespace

bool cholesky_lower(std::span<double> a, int64_t n, const MethodContext& context) {
  // Block columns from left to right: free the block of what is left of it (the bulk of the work, one product), factor its
  // square on the diagonal, divide the rows below by that.
  const auto feedback = kernels::select_panel(static_cast<int>(context.isa)).feedback64;
  AlignedArray<double> left(n * kPanelRows64);
  for (int64_t first = 0; first < n; first += kPanelRows64) {
    const int64_t count = std::min<int64_t>(kPanelRows64, n - first);
    for (int64_t i = 0; i < first; ++i) {
      double* row = left.data() + i * kPanelRows64;
      std::fill_n(row, kPanelRows64, 0.0);
      for (int64_t r = 0; r < count; ++r) row[r] = a[static_cast<std::size_t>((first + r) * n + i)];
    }
    const auto free_rows = [&](int64_t begin, int64_t end) {
      alignas(64) double product[kFeedbackColumns * kPanelRows64];
      for (int64_t c = begin; c < end; c += kFeedbackColumns) {
        const int rows = static_cast<int>(std::min<int64_t>(kFeedbackColumns, end - c));
        feedback(Feedback64Args{a.data() + c * n, n, rows, left.data(), 0, first, product});
        for (int64_t i = 0; i < rows; ++i) {
          double* out = a.data() + (c + i) * n + first;
          const int64_t last = std::min(count, c + i - first + 1);  // not above the diagonal
          for (int64_t r = 0; r < last; ++r) out[r] -= product[i * kPanelRows64 + r];
        }
      }
    };
    free_rows(first, first + count);
    if (!factor_diagonal_block(a, n, first, count)) return false;
    const int64_t below = first + count;
    context.team->parallel_for(n - below, 64, [&](int64_t begin, int64_t end) {
      free_rows(below + begin, below + end);
      for (int64_t c = below + begin; c < below + end; ++c) {
        double* x = a.data() + c * n + first;
        for (int64_t r = 0; r < count; ++r) {
          const double* l = a.data() + (first + r) * n + first;
          double sum = x[r];
          for (int64_t q = 0; q < r; ++q) sum -= x[q] * l[q];
          x[r] = sum / l[r];
        }
      }
    });
  }
  return true;
}

int64_t pivoted_lower(std::span<double> a, int64_t n, double floor) {
  Eigen::Map<Matrix> map(a.data(), n, n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j)
      if (!std::isfinite(map(i, j))) return -1;
  // In place wherever that is possible: one more matrix than `a` and no others (the memory plan counts no more).
  const Eigen::LDLT<Eigen::Ref<Matrix>, Eigen::Lower> ldlt(map);
  Eigen::VectorXd pivots = ldlt.vectorD();
  int64_t raised = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (pivots(i) >= floor) continue;  // the comparison sends NaN on as well
    pivots(i) = floor;
    ++raised;
  }
  // a ~ M M^T with M = P^T L sqrt(D). M^T = Q U gives M M^T = U^T U.
  Matrix transposed = ldlt.matrixL();
  transposed.array().rowwise() *= pivots.cwiseSqrt().transpose().array();
  const auto& swaps = ldlt.transpositionsP();
  for (int64_t i = n; i-- > 0;)
    if (swaps.coeff(i) != i) transposed.row(i).swap(transposed.row(swaps.coeff(i)));
  transposed.transposeInPlace();
  if (!transposed.allFinite()) return -1;
  const Eigen::HouseholderQR<Eigen::Ref<Matrix>> qr(transposed);
  for (int64_t i = 0; i < n; ++i) {
    const double sign = qr.matrixQR()(i, i) < 0 ? -1 : 1;
    if (qr.matrixQR()(i, i) == 0) return -1;
    for (int64_t j = i; j < n; ++j) map(j, i) = sign * qr.matrixQR()(i, j);
  }
  return raised;
}

bool solve_small(std::span<double> a, int64_t n, std::span<double> b) {
  Eigen::Map<Matrix> map(a.data(), n, n);
  Eigen::LLT<Eigen::Ref<Matrix>, Eigen::Lower> llt(map);
  if (llt.info() != Eigen::Success) return false;
  Eigen::Map<Eigen::VectorXd> x(b.data(), n);
  llt.solveInPlace(x);
  return x.allFinite();
}

}  // namespace nbl::quant
