#include <arm_neon.h>

#include "kernels/qmatmul_int8/qmatmul_int8.h"
#include "kernels/simd/inline.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_neon.inl"
#include "kernels/simd/unpack.inl"
#include "kernels/qmatmul_int8/qmatmul_int8.inl"
// clang-format on
}  // namespace

void qmatmul_int8__neon_dotprod(const QmatmulInt8Args* args) noexcept { qmatmul_int8_body<LanesNeon>(*args); }

}  // namespace nbl::kernels
