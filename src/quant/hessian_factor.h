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

/// The option of every method that factors a Hessian, and its value: a share of the mean diagonal, or kAutomaticDamping.
inline const OptionSpec kDampOption{"damp", OptionSpec::Type::real, "0.01", 0, 1, {"auto"},
                                    "share of the mean diagonal added to the Hessian, raised by itself when too small; auto: by the number of tokens"};
inline constexpr double kAutomaticDamping = -1;
inline double damping_of(const Options& options) {
  return options.text(kDampOption.name) == "auto" ? kAutomaticDamping : options.real(kDampOption.name);
}

/// Damps (adds damp * mean diagonal to the diagonal) and factors in double precision. When that fails: more damping, up to a
/// quarter; then a pivoted factorization with what was asked for. Every step beyond the first is noted with its reason. An empty r
/// means that nothing helped (some value is not finite): the caller rounds to nearest.
/// kAutomaticDamping: automatic_damping() chooses, which is noted.
HessianFactor factor_hessian(const InputStats& stats, std::vector<int32_t> order, double damp, const MethodContext& context,
                             std::vector<std::string>* notes);

/// The damping that makes the sums of `tokens` samples the estimate of their second moments with the least expected error among
/// mixtures with a multiple of the identity (oracle approximating shrinkage: Chen, Wiesel, Eldar, Hero, 2010).
double automatic_damping(std::span<const float> hessian, int64_t k, int64_t tokens);

/// Columns by falling diagonal, ties in column order.
std::vector<int32_t> descending_diagonal(std::span<const float> hessian, int64_t k);

/// Whole groups by falling sum of their diagonal, columns within a group by falling diagonal: groups stay neighbours.
std::vector<int32_t> descending_groups(std::span<const float> hessian, int64_t k, int64_t group);

}  // namespace nbl::quant
