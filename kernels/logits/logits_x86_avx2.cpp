#include <immintrin.h>

#include "kernels/logits/logits.h"

namespace nbl::kernels {
namespace {

struct V {
  using reg = __m256;
  struct wide {
    __m256d low, high;
  };
  static constexpr int kLanes = 8;
  static __m256i mask(int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static reg set(float x) { return _mm256_set1_ps(x); }
  static reg load(const float* p) { return _mm256_loadu_ps(p); }
  static reg tail(const float* p, int64_t count, float fill) {
    return _mm256_blendv_ps(set(fill), _mm256_maskload_ps(p, mask(count)), _mm256_castsi256_ps(mask(count)));
  }
  static reg first(reg x, int64_t count) { return _mm256_and_ps(x, _mm256_castsi256_ps(mask(count))); }
  static reg add(reg a, reg b) { return _mm256_add_ps(a, b); }
  static reg sub(reg a, reg b) { return _mm256_sub_ps(a, b); }
  static reg mul(reg a, reg b) { return _mm256_mul_ps(a, b); }
  static reg max(reg a, reg b) { return _mm256_max_ps(b, a); }
  static reg fmadd(reg a, reg b, reg c) { return _mm256_fmadd_ps(a, b, c); }
  static reg round(reg x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static reg scale(reg x, reg n) {
    // n >= -126, so 2^n is a normal number: its exponent field is n + 127.
    const __m256i e = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(x, _mm256_castsi256_ps(e));
  }
  static reg keep_above(reg value, reg x, reg bound) {
    return _mm256_and_ps(value, _mm256_cmp_ps(x, bound, _CMP_NLE_UQ));
  }
  static float reduce_max(reg x) {
    float lanes[8];
    _mm256_storeu_ps(lanes, x);
    float best = lanes[0];
    for (int i = 1; i < 8; ++i) best = lanes[i] > best ? lanes[i] : best;
    return best;
  }
  static wide wide_zero() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }
  static wide wide_add(wide s, reg x) {
    return {_mm256_add_pd(s.low, _mm256_cvtps_pd(_mm256_castps256_ps128(x))),
            _mm256_add_pd(s.high, _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)))};
  }
  static double wide_sum(wide s) {
    double lanes[4];
    _mm256_storeu_pd(lanes, _mm256_add_pd(s.low, s.high));
    return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
  }
};

#include "kernels/logits/logits_generic.inl"

}  // namespace

float logits_max_avx2(const float* x, int64_t n, int64_t* index) { return max_body(x, n, index); }
double logits_sum_exp_avx2(const float* x, int64_t n, float max) { return sum_exp_body(x, n, max); }
void logits_sums_avx2(const float* a, const float* b, int64_t n, float max_a, float max_b, LogitSums* out) {
  sums_body(a, b, n, max_a, max_b, out);
}

}  // namespace nbl::kernels
