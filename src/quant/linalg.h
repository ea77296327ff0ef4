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

/// What cholesky_lower() leaves in the lower triangle of a, for a symmetric a that it refuses: a is taken apart as L D L^T with
/// the largest remaining diagonal first (Higham, 2002, chapter 11), pivots below `floor` (> 0) are raised to it, and what that
/// stands for is factored again in a's own order by an orthogonal triangularization, which never forms it. Returns how many pivots
/// were raised; -1 when a holds a value that is not finite. One thread, about six times the work: for the matrices that need it.
[[nodiscard]] int64_t pivoted_lower(std::span<double> a, int64_t n, double floor);

/// Solves a x = b for a symmetric positive definite a [n, n] (lower triangle read), in place of b, and leaves in that triangle L with
/// a = L L^T. Small systems. False when a is not positive definite.
[[nodiscard]] bool solve_small(std::span<double> a, int64_t n, std::span<double> b);

}  // namespace nbl::quant
