#include <arm_neon.h>

#include "kernels/qmatmul_int8/qmatmul_int8.h"
#include "kernels/simd/inline.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_neon.inl"
#include "kernels/simd/lanes_neon_i8mm.inl"
#include "kernels/simd/unpack.inl"
#include "kernels/qmatmul_int8/qmatmul_int8.inl"
// clang-format on
}  // namespace

void qmatmul_int8__neon_i8mm(const QmatmulInt8Args* args) noexcept { qmatmul_int8_body<LanesNeonI8mm>(*args); }

}  // namespace nbl::kernels
