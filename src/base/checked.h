// Integer arithmetic that says when it overflows; used on every number that comes from a file.
#pragma once

#include <cstdint>

namespace nbl {

/// a * b, or false when the product does not fit. *out is written only on success.
[[nodiscard]] inline bool checked_mul(int64_t a, int64_t b, int64_t* out) noexcept {
  int64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return false;
  *out = r;
  return true;
}

/// a + b, or false when the sum does not fit. *out is written only on success.
[[nodiscard]] inline bool checked_add(int64_t a, int64_t b, int64_t* out) noexcept {
  int64_t r;
  if (__builtin_add_overflow(a, b, &r)) return false;
  *out = r;
  return true;
}

/// a >= 0, b > 0; no sum that could overflow, for a group size may be what a hostile file says.
constexpr int64_t ceil_div(int64_t a, int64_t b) noexcept { return a / b + (a % b > 0 ? 1 : 0); }
constexpr int64_t round_up(int64_t a, int64_t multiple) noexcept { return ceil_div(a, multiple) * multiple; }

}  // namespace nbl
