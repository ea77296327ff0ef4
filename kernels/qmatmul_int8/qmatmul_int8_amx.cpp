#include "kernels/qmatmul_int8/qmatmul_int8.h"
#include "kernels/simd/amx_tiles.h"
#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_avx512.inl"
#include "kernels/simd/lanes_avx512vnni.inl"
#include "kernels/simd/unpack.inl"
#include "kernels/qmatmul_int8/qmatmul_int8.inl"
#include "kernels/qmatmul_int8/qmatmul_int8_tiles.inl"
// clang-format on
}  // namespace

void qmatmul_int8__amx(const QmatmulInt8Args* args) noexcept { qmatmul_int8_body<Lanes512Amx>(*args); }

}  // namespace nbl::kernels
