#include "kernels/prepare_input/prepare_input.h"
#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_avx512.inl"
#include "kernels/prepare_input/prepare_input.inl"
// clang-format on
}  // namespace

void prepare_input__avx512(const PrepareInputArgs* args) noexcept { prepare_input_body<Lanes512>(*args); }

}  // namespace nbl::kernels
