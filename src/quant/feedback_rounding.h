// Rounding with error feedback: the column loop of GPTQ, written as linear feedback (the two are the same algorithm).
//
// With H = R R^T, R upper triangular, the error e of a row costs |e R|^2, and column j of e R holds e_i for i <= j only. So the
// best real value of column j, given the errors of the columns before it, is w_j + (sum_{i<j} e_i R_ij) / R_jj; it is rounded, and
// its own error feeds the columns after it. No inverse is needed, every row is on its own, and nothing is written twice.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/affine.h"
#include "quant/hessian_factor.h"
#include "quant/method.h"
#include "quant/row_feedback.h"

namespace nbl::quant {

enum class Groups : uint8_t {
  natural,  ///< consecutive columns of the weight; the factor's order keeps them together
  packed,   ///< consecutive positions of the factor's order: codes are stored in that order
  fixed,    ///< consecutive columns of the weight, grids found before anything is rounded; any order
};

struct FeedbackRule {
  GridRule grid;
  Groups groups = Groups::natural;
  /// Shares of two corrections of the target, both 0 for plain GPTQ. With H of the inputs x as the layer will see them, u what
  /// the unquantized model has in their place, and r the error of the residual stream so far, the target is the least-squares
  /// solution of  target x = w (x + alpha (u - x)) + beta r.
  double alpha = 0, beta = 0;
  /// Rounds of: scales refitted with the codes fixed, then each code moved to its best value with everything else fixed.
  int refine = 0;
  int64_t block = 128;  ///< columns whose errors are passed on to later ones together
  RowFeedback* rows = nullptr;  ///< of this task: rows make good each other's errors too. Null: each is on its own
};

/// Fills `out` (made for the task's shape; for a trellis the factor's order is that of trellis_tiles()): codes in original column order, or in the factor's order for Groups::packed.
void round_with_feedback(const LinearTask& task, const HessianFactor& factor, const FeedbackRule& rule,
                         const MethodContext& context, AffineCodes* out);

}  // namespace nbl::quant
