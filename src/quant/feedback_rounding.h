// Rounding with error feedback: the column loop of GPTQ, written as linear feedback (the two are the same algorithm).
//
// With H = R R^T, R upper triangular, the error of a row is |e R|^2, whose column j holds e_i for i <= j only. So column j's
// best real value, given the errors of the columns before it, is w_j + (sum_{i<j} e_i R_ij) / R_jj; it is rounded, and its own
// error feeds the columns after it. No inverse is needed, every row is on its own, and nothing is written twice.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "quant/affine.h"
#include "quant/method.h"

namespace nbl::quant {

/// The factor of a Hessian whose columns were put in `order`.
struct HessianFactor {
  int64_t k = 0;
  std::vector<float> rt;       ///< [k, k]: row j holds R_ij for i <= j; the rest is 0
  std::vector<int32_t> order;  ///< packed column p is original column order[p]; empty: as they come
  std::vector<uint8_t> dead;   ///< [k] packed order: inputs that calibration never saw non-zero
};

/// Damps (adds damp * mean diagonal to the diagonal), factors; more damping when that fails. Every step beyond the first is
/// noted. An empty rt means that nothing helped: the caller rounds to nearest.
HessianFactor factor_hessian(std::span<const float> hessian, int64_t k, std::vector<int32_t> order, double damp,
                             std::vector<std::string>* notes);

/// Columns by falling diagonal, ties in column order.
std::vector<int32_t> descending_diagonal(std::span<const float> hessian, int64_t k);

struct FeedbackRule {
  GridRule grid;
  /// Grids from the unrounded weight of the original columns group by group (column c of the weight belongs to group c /
  /// group_size) rather than from the corrected weight of consecutive packed columns.
  bool static_groups = false;
};

/// weight [n, k] in original column order; out->codes in the factor's packed order, unless static_groups: then codes, scales and
/// zeros are those of original columns.
void round_with_feedback(std::span<const float> weight, const HessianFactor& factor, const FeedbackRule& rule,
                         const MethodContext& context, AffineCodes* out);

}  // namespace nbl::quant
