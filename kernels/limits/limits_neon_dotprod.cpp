#include <arm_neon.h>

#include "kernels/limits/limits.h"
#include "kernels/simd/inline.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_neon.inl"
#include "kernels/limits/limits.inl"
// clang-format on
}  // namespace

void limit_read__neon_dotprod(LimitArgs* args) noexcept { read_body<LanesNeon>(*args); }
void limit_f32_fma__neon_dotprod(LimitArgs* args) noexcept { fma_body<LanesNeon, 6>(*args); }
void limit_int8_dot__neon_dotprod(LimitArgs* args) noexcept { int8_body<LanesNeon, 6>(*args); }

}  // namespace nbl::kernels
