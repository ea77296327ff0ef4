#include <arm_neon.h>

#include "kernels/qmatmul_exact/qmatmul_exact.h"
#include "kernels/simd/inline.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_neon.inl"
#include "kernels/simd/unpack.inl"
#include "kernels/qmatmul_exact/qmatmul_exact.inl"
// clang-format on
}  // namespace

void qmatmul_exact__neon_dotprod(const QmatmulExactArgs* args) noexcept { qmatmul_exact_body<LanesNeon>(*args); }

}  // namespace nbl::kernels
