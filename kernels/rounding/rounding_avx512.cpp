#include "kernels/rounding/rounding.h"
#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels::rounding_avx512 {
namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_avx512.inl"
// clang-format on

struct T : Lanes512 {
  static NBL_INLINE F div_f(F x, F y) { return _mm512_div_ps(x, y); }
  static NBL_INLINE F least(F x, F y) { return _mm512_min_ps(x, y); }
  static NBL_INLINE F greatest(F x, F y) { return _mm512_max_ps(x, y); }
  static NBL_INLINE I add_where_greater(I i, F x, F y, I step) {
    return _mm512_mask_add_epi32(i, _mm512_cmp_ps_mask(x, y, _CMP_GT_OQ), i, step);
  }
  static NBL_INLINE I min_i32(I i, I j) { return _mm512_min_epi32(i, j); }
  static NBL_INLINE I where_less(I i, I j, I x, I y) { return _mm512_mask_mov_epi32(y, _mm512_cmplt_epi32_mask(i, j), x); }
  static NBL_INLINE void store_u8(void* p, I v) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v)); }
};
using F = T::F;
using I = T::I;

}  // namespace

#include "kernels/rounding/rounding.inl"

}  // namespace nbl::kernels::rounding_avx512
