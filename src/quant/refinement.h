// What comes after the codes are chosen: with H the damped Hessian and E the error against the target, tr(E H E^T) is lowered by
// refitting each row's scales in closed form and by moving single codes to their best value.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/affine.h"
#include "quant/feedback_rounding.h"
#include "quant/hessian_factor.h"
#include "quant/trellis.h"

namespace nbl::quant {

/// The damped Hessian in the order in which codes are stored.
struct RefinementMatrix {
  std::vector<float> h;  ///< [k, k]
  /// Of a trellis: all tiles in column order, each with the factor of its own block of h, and that factor [count, count]: column j
  /// has R_ij at j * count + i.
  std::vector<TrellisTile> tiles;
  std::vector<std::vector<float>> tile_factors;
  static RefinementMatrix create(std::span<const float> hessian, const HessianFactor& factor, bool packed, bool trellis,
                                 const MethodContext& context);
};

/// Improves the codes and scales of rows [row, row + 32) of `out`. target [k][32] lies by position of the factor's order.
void refine_panel(const float* target, int64_t row, const HessianFactor& factor, const RefinementMatrix& matrix,
                  const FeedbackRule& rule, const MethodContext& context, AffineCodes* out);

}  // namespace nbl::quant
