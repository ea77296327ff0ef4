// exp and log whose results do not depend on the C library.
#include <bit>
#include <cmath>
#include <cstdint>

#include "model/sampler.h"

namespace nbl::model {
namespace {

constexpr double kLn2High = 6.93147180369123816490e-01;  ///< ln 2, its low 21 bits zero: k * kLn2High is exact
constexpr double kLn2Low = 1.90821492927058770002e-10;
constexpr double kLog2E = 1.44269504088896338700;

}  // namespace

double portable_exp(double x) noexcept {
  if (!(x > -708.0)) return 0;  // below the normal numbers
  if (x > 0) x = 0;
  const auto k = static_cast<int64_t>(x * kLog2E - 0.5);
  const double r = (x - static_cast<double>(k) * kLn2High) - static_cast<double>(k) * kLn2Low;  // |r| <= 0.35
  // Taylor to r^13 / 13!: the rest is below 1e-17.
  double sum = 1;
  for (int n = 13; n >= 1; --n) sum = 1 + sum * r / n;
  return sum * std::bit_cast<double>(static_cast<uint64_t>(k + 1023) << 52);
}

double portable_minus_log(double u) noexcept {
  uint64_t bits = std::bit_cast<uint64_t>(u);
  int64_t k = static_cast<int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & ((uint64_t{1} << 52) - 1)) | (uint64_t{1023} << 52));  // [1, 2)
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++k;
  }
  // log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172: the term after s^21 is below 1e-17.
  const double s = (m - 1) / (m + 1), s2 = s * s;
  double sum = 0;
  for (int n = 21; n >= 1; n -= 2) sum = sum * s2 + 1.0 / n;
  const double log = (static_cast<double>(k) * kLn2Low + 2 * s * sum) + static_cast<double>(k) * kLn2High;
  return log > 0 ? 0 : -log;
}

double log_sum_exp(std::span<const float> logits) {
  float top = -INFINITY;
  for (const float x : logits)
    if (x > top) top = x;
  if (!std::isfinite(top)) return top;
  double sum = 0;
  for (const float x : logits)
    if (x <= top) sum += portable_exp(static_cast<double>(x) - static_cast<double>(top));
  return static_cast<double>(top) + (sum > 0 ? std::log(sum) : 0);
}

}  // namespace nbl::model
