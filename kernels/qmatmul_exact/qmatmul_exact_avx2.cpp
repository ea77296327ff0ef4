#include "kernels/qmatmul_exact/qmatmul_exact.h"
#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_avx2.inl"
#include "kernels/simd/unpack.inl"
#include "kernels/qmatmul_exact/qmatmul_exact.inl"
// clang-format on
}  // namespace

void qmatmul_exact__avx2(const QmatmulExactArgs* args) noexcept { qmatmul_exact_body<Lanes256>(*args); }

}  // namespace nbl::kernels
