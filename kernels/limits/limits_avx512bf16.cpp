#include "kernels/limits/limits.h"
#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels {

void limit_bf16_dot__avx512bf16(LimitArgs* args) noexcept {
  constexpr int kChains = 20;
  __m512i source = _mm512_set1_epi32(0x3c003c00);
  __asm__ volatile("" : "+m"(source));
  const auto x = (__m512bh)source;
  __m512 acc[kChains];
  NBL_EACH (j, kChains) {
    acc[j] = _mm512_setzero_ps();
    __asm__ volatile("" : "+m"(acc[j]));  // or all chains would be one
  }
  for (int64_t i = 0; i < args->iterations; ++i)
    NBL_EACH (j, kChains) acc[j] = _mm512_dpbf16_ps(acc[j], x, x);
  float total = 0;
  NBL_EACH (j, kChains) total += _mm512_cvtss_f32(acc[j]);
  __builtin_memcpy(&args->sink, &total, 4);
  args->operations = args->iterations * kChains * 64;
}

}  // namespace nbl::kernels
