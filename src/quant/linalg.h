// Factorizations of symmetric matrices. The only file of the library that includes Eigen is linalg.cpp.
#pragma once

#include <cstdint>
#include <span>

#include "quant/method.h"

namespace nbl::quant {

/// Replaces the lower triangle of a [n, n] (row-major) by L with a = L L^T; the upper triangle is left alone. False when the
/// matrix is not positive definite to working precision; `a` is then spoilt. Blocked and shared among the team; its bytes depend
/// neither on how many threads that has nor on the instruction set.
[[nodiscard]] bool cholesky_lower(std::span<double> a, int64_t n, const MethodContext& context);

/// Solves a x = b for a symmetric positive definite a [n, n] (lower triangle read), in place of b. Small systems. False when a is
/// not positive definite.
[[nodiscard]] bool solve_small(std::span<double> a, int64_t n, std::span<double> b);

}  // namespace nbl::quant
