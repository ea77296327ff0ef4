#include "kernels/rounding/rounding.h"
#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels::rounding_avx2 {
namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_avx2.inl"
// clang-format on

struct T : Lanes256 {
  static NBL_INLINE F div_f(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static NBL_INLINE F least(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  static NBL_INLINE F greatest(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  static NBL_INLINE I add_where_greater(I i, F x, F y, I step) {
    const __m256i a = _mm256_castps_si256(_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ));
    const __m256i b = _mm256_castps_si256(_mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ));
    return add(i, band({a, b}, step));
  }
  static NBL_INLINE I min_i32(I i, I j) { return {_mm256_min_epi32(i.a, j.a), _mm256_min_epi32(i.b, j.b)}; }
  static NBL_INLINE I where_less(I i, I j, I x, I y) {
    return {_mm256_blendv_epi8(y.a, x.a, _mm256_cmpgt_epi32(j.a, i.a)), _mm256_blendv_epi8(y.b, x.b, _mm256_cmpgt_epi32(j.b, i.b))};
  }
  static NBL_INLINE void store_u8(void* p, I v) {
    const __m256i w = _mm256_permute4x64_epi64(_mm256_packus_epi32(v.a, v.b), 0xd8);
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1)));
  }
};
using F = T::F;
using I = T::I;

}  // namespace

#include "kernels/rounding/rounding.inl"

}  // namespace nbl::kernels::rounding_avx2
