#include <cmath>
#include <cstring>

#include "kernels/logits/logits.h"

namespace nbl::kernels {
namespace {

struct V {
  using reg = float;
  using wide = double;
  static constexpr int kLanes = 1;
  static reg set(float x) { return x; }
  static reg load(const float* p) { return *p; }
  static reg tail(const float*, int64_t, float fill) { return fill; }  // never reached: every count is a whole vector
  static reg first(reg x, int64_t) { return x; }
  static reg add(reg a, reg b) { return a + b; }
  static reg sub(reg a, reg b) { return a - b; }
  static reg mul(reg a, reg b) { return a * b; }
  static reg max(reg a, reg b) { return b > a ? b : a; }
  static reg fmadd(reg a, reg b, reg c) { return a * b + c; }
  static reg round(reg x) { return std::nearbyintf(x); }
  static reg scale(reg x, reg n) {
    if (n != n) return n;
    const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof(power));
    return x * power;
  }
  static reg keep_above(reg value, reg x, reg bound) { return x <= bound ? 0.0f : value; }
  static float reduce_max(reg x) { return x; }
  static wide wide_zero() { return 0.0; }
  static wide wide_add(wide s, reg x) { return s + static_cast<double>(x); }
  static double wide_sum(wide s) { return s; }
};

#include "kernels/logits/logits_generic.inl"

}  // namespace

float logits_max_scalar(const float* x, int64_t n, int64_t* index) { return max_body(x, n, index); }
double logits_sum_exp_scalar(const float* x, int64_t n, float max) { return sum_exp_body(x, n, max); }
void logits_sums_scalar(const float* a, const float* b, int64_t n, float max_a, float max_b, LogitSums* out) {
  sums_body(a, b, n, max_a, max_b, out);
}

}  // namespace nbl::kernels
