// The Hessian of a layer's inputs, put in order, damped and factored.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "quant/method.h"

namespace nbl::quant {

/// H = R R^T with R upper triangular, its columns in `order`.
struct HessianFactor {
  int64_t k = 0;
  std::vector<int32_t> order;  ///< position p holds original column order[p]; empty: as they come
  /// [k, k], both triangles hold the factor: row j has R_ij at i <= j and R_ji at i > j. Empty: nothing could be factored.
  std::vector<float> r;
  std::vector<uint8_t> dead;  ///< [k] by position: inputs that calibration never saw non-zero
  float added = 0;            ///< what damping added to the diagonal (dead columns: their diagonal is 1 besides)
};

/// Damps (adds damp * mean diagonal to the diagonal) and factors in double precision; more damping when that fails. Every step
/// beyond the first is noted. An empty r means that nothing helped: the caller rounds to nearest.
HessianFactor factor_hessian(std::span<const float> hessian, int64_t k, std::vector<int32_t> order, double damp,
                             const MethodContext& context, std::vector<std::string>* notes);

/// Columns by falling diagonal, ties in column order.
std::vector<int32_t> descending_diagonal(std::span<const float> hessian, int64_t k);

/// Whole groups by falling sum of their diagonal, columns within a group by falling diagonal: groups stay neighbours.
std::vector<int32_t> descending_groups(std::span<const float> hessian, int64_t k, int64_t group);

}  // namespace nbl::quant
