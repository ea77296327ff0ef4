#include "kernels/limits/limits.h"
#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_avx2.inl"
#include "kernels/limits/limits.inl"
// clang-format on
}  // namespace

void limit_read__avx2(LimitArgs* args) noexcept { read_body<Lanes256>(*args); }
void limit_f32_fma__avx2(LimitArgs* args) noexcept { fma_body<Lanes256, 6>(*args); }
void limit_int8_dot__avx2(LimitArgs* args) noexcept { int8_pairs_body<Lanes256, 3>(*args); }

}  // namespace nbl::kernels
