#include <arm_neon.h>

#include "kernels/rounding/rounding.h"
#include "kernels/simd/inline.h"

namespace nbl::kernels::rounding_neon_dotprod {
namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_neon.inl"
// clang-format on

struct T : LanesNeon {
  static NBL_INLINE F div_f(F x, F y) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vdivq_f32(x.v[i], y.v[i]); });
  }
  static NBL_INLINE F least(F x, F y) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vbslq_f32(vcltq_f32(x.v[i], y.v[i]), x.v[i], y.v[i]); });
  }
  static NBL_INLINE F greatest(F x, F y) {
    return each_f([&](int i) NBL_INLINE_LAMBDA { return vbslq_f32(vcgtq_f32(x.v[i], y.v[i]), x.v[i], y.v[i]); });
  }
  static NBL_INLINE I add_where_greater(I a, F x, F y, I step) {
    return each_i([&](int i) NBL_INLINE_LAMBDA { return vaddq_s32(a.v[i], vandq_s32(s32(vcgtq_f32(x.v[i], y.v[i])), step.v[i])); });
  }
  static NBL_INLINE I min_i32(I a, I b) {
    return each_i([&](int i) NBL_INLINE_LAMBDA { return vminq_s32(a.v[i], b.v[i]); });
  }
  static NBL_INLINE I where_less(I a, I b, I x, I y) {
    return each_i([&](int i) NBL_INLINE_LAMBDA { return vbslq_s32(vcltq_s32(a.v[i], b.v[i]), x.v[i], y.v[i]); });
  }
  static NBL_INLINE void store_u8(void* p, I a) {
    const uint16x8_t low = vcombine_u16(vmovn_u32(u32(a.v[0])), vmovn_u32(u32(a.v[1])));
    const uint16x8_t high = vcombine_u16(vmovn_u32(u32(a.v[2])), vmovn_u32(u32(a.v[3])));
    vst1q_u8(static_cast<uint8_t*>(p), vcombine_u8(vmovn_u16(low), vmovn_u16(high)));
  }
};
using F = T::F;
using I = T::I;

}  // namespace

#include "kernels/rounding/rounding.inl"

}  // namespace nbl::kernels::rounding_neon_dotprod
