#include "kernels/limits/limits.h"
#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_avx2.inl"
#include "kernels/simd/lanes_avxvnni.inl"
#include "kernels/limits/limits.inl"
// clang-format on
}  // namespace

void limit_int8_dot__avxvnni(LimitArgs* args) noexcept { int8_body<Lanes256Vnni, 6>(*args); }

}  // namespace nbl::kernels
