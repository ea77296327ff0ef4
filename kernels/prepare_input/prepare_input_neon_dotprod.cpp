#include <arm_neon.h>

#include "kernels/prepare_input/prepare_input.h"
#include "kernels/simd/inline.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_neon.inl"
#include "kernels/prepare_input/prepare_input.inl"
// clang-format on
}  // namespace

void prepare_input__neon_dotprod(const PrepareInputArgs* args) noexcept { prepare_input_body<LanesNeon>(*args); }

}  // namespace nbl::kernels
