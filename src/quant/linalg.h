// Factorizations of symmetric matrices. The only file of the library that includes Eigen is linalg.cpp.
#pragma once

#include <cstdint>
#include <span>

namespace nbl::quant {

/// Replaces the lower triangle of a [n, n] (row-major) by L with a = L L^T; the upper triangle is left alone. False when the
/// matrix is not positive definite to working precision; `a` is then spoilt.
[[nodiscard]] bool cholesky_lower(std::span<double> a, int64_t n);
[[nodiscard]] bool cholesky_lower(std::span<float> a, int64_t n);

}  // namespace nbl::quant
