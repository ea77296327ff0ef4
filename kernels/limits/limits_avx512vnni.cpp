#include "kernels/limits/limits.h"
#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_avx512.inl"
#include "kernels/simd/lanes_avx512vnni.inl"
#include "kernels/limits/limits.inl"
// clang-format on
}  // namespace

void limit_int8_dot__avx512vnni(LimitArgs* args) noexcept { int8_body<Lanes512Vnni, 20>(*args); }

}  // namespace nbl::kernels
