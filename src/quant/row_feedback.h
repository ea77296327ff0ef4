// Error feedback from row to row. Where an error E of a weight [n, k] costs tr(G E H E^T), H [k, k] the second moments of the inputs and
// G [n, n] those of the gradient at the outputs, rows are not on their own: what is lost in one, others can make good. With G = R R^T,
// R upper triangular, row j of R^T E holds the errors of rows i <= j only, so that the best real value of row j, given those before
// it, is w_j + (sum_{i<j} R_ij e_i) / R_jj: the feedback of columns (feedback_rounding.h) from the other side (two-sided rounding as in
// YAQA: Tseng, Sun, De Sa, 2025). Rows are rounded some panels at a time, each time with what the rows before ask of them. What rows of
// the same panels could do for each other is lost; neighbours could do most (a head's, rotated pairs). So all here speak of
// the rows in an order of their own, in which a panel's come from all over the matrix.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "quant/affine.h"
#include "quant/calibrated.h"
#include "quant/hessian_factor.h"
#include "quant/method.h"

namespace nbl::quant {

class RowFeedback {
 public:
  /// For a task with output moments; null when it has none that are of use (noted). unit: so many rows from every multiple of it on stay
  /// together; a power of two up to 32.
  static std::unique_ptr<RowFeedback> create(const LinearTask& task, int64_t unit, const MethodContext& context, std::vector<std::string>* notes);

  /// A matrix of n rows in that order; empty stays empty.
  std::vector<float> ordered(std::span<const float> matrix) const;
  /// Codes made in that order go back to where the rows belong.
  void restore(AffineCodes* codes) const;

  /// Rows, in whole panels, that are rounded together: some sixteenth of them all, so that little of the feedback is lost.
  int64_t together() const noexcept;

  /// What the errors of the rows before `begin` ask of rows [begin, end): to be added to their targets before they are rounded.
  void ask_of_next(int64_t begin, int64_t end, const MethodContext& context);
  /// The same for rows that are rounded again, of the errors of all rows before and behind them.
  void ask_of_again(int64_t begin, int64_t end, const MethodContext& context);

  /// What is kept of each row.
  struct Kept {
    explicit Kept(int64_t count) : floats(count) {}
    AlignedFloats floats;  ///< [ceil(k / 32)][n][32 columns]
  };
  Kept& target() noexcept { return target_; }  ///< without what other rows ask
  Kept& error() noexcept { return error_; }    ///< that target less the value
  Kept& asked() noexcept { return asked_; }
  /// A panel [k][32] of rows [row, row + 32), by position of `order` (empty: as the columns come).
  void load(Kept& from, int64_t row, std::span<const int32_t> order, float* panel) const;
  void store(Kept& to, int64_t row, std::span<const int32_t> order, const float* panel) const;

 private:
  RowFeedback(int64_t n, int64_t k, int64_t unit);

  int64_t n_, k_, chunks_;
  std::vector<int32_t> order_;  ///< position p holds the matrix's row order_[p]
  std::vector<float> moments_;  ///< [n, n], damped
  HessianFactor factor_;
  Kept target_, error_, asked_;
};

}  // namespace nbl::quant
