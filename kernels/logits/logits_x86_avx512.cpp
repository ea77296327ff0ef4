#include <immintrin.h>

#include "kernels/logits/logits.h"

namespace nbl::kernels {
namespace {

struct V {
  using reg = __m512;
  struct wide {
    __m512d low, high;
  };
  static constexpr int kLanes = 16;
  static __mmask16 mask(int64_t count) { return static_cast<__mmask16>((1u << count) - 1u); }
  static reg set(float x) { return _mm512_set1_ps(x); }
  static reg load(const float* p) { return _mm512_loadu_ps(p); }
  static reg tail(const float* p, int64_t count, float fill) { return _mm512_mask_loadu_ps(set(fill), mask(count), p); }
  static reg first(reg x, int64_t count) { return _mm512_maskz_mov_ps(mask(count), x); }
  static reg add(reg a, reg b) { return _mm512_add_ps(a, b); }
  static reg sub(reg a, reg b) { return _mm512_sub_ps(a, b); }
  static reg mul(reg a, reg b) { return _mm512_mul_ps(a, b); }
  // The operand order passes a NaN of `a` on to the comparisons after it as the second operand; see max_body.
  static reg max(reg a, reg b) { return _mm512_max_ps(b, a); }
  static reg fmadd(reg a, reg b, reg c) { return _mm512_fmadd_ps(a, b, c); }
  static reg round(reg x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static reg scale(reg x, reg n) { return _mm512_scalef_ps(x, n); }
  static reg keep_above(reg value, reg x, reg bound) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, bound, _CMP_NLE_UQ), value);
  }
  static float reduce_max(reg x) { return _mm512_reduce_max_ps(x); }
  static wide wide_zero() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
  static wide wide_add(wide s, reg x) {
    return {_mm512_add_pd(s.low, _mm512_cvtps_pd(_mm512_castps512_ps256(x))),
            _mm512_add_pd(s.high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)))};
  }
  static double wide_sum(wide s) { return _mm512_reduce_add_pd(_mm512_add_pd(s.low, s.high)); }
};

#include "kernels/logits/logits_generic.inl"

}  // namespace

float logits_max_avx512(const float* x, int64_t n, int64_t* index) { return max_body(x, n, index); }
double logits_sum_exp_avx512(const float* x, int64_t n, float max) { return sum_exp_body(x, n, max); }
void logits_sums_avx512(const float* a, const float* b, int64_t n, float max_a, float max_b, LogitSums* out) {
  sums_body(a, b, n, max_a, max_b, out);
}

}  // namespace nbl::kernels
