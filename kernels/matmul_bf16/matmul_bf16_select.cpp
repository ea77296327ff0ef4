#include "kernels/matmul_bf16/matmul_bf16.h"

namespace nbl::kernels {

#define NBL_VARIANT(isa, suffix) void matmul_bf16__##suffix(const MatmulBf16Args* args) noexcept;
#include "kernels/matmul_bf16/matmul_bf16_variants.inc"
#undef NBL_VARIANT

namespace {
// Ends with an empty entry: there may be no variant at all.
constexpr MatmulBf16Variant kVariants[] = {
#define NBL_VARIANT(isa, suffix) {isa, "matmul_bf16__" #suffix, matmul_bf16__##suffix},
#include "kernels/matmul_bf16/matmul_bf16_variants.inc"
#undef NBL_VARIANT
    {Isa::scalar, nullptr, nullptr},
};
constexpr int kCount = sizeof(kVariants) / sizeof(kVariants[0]) - 1;
}  // namespace

const MatmulBf16Variant* matmul_bf16_variants(int* count) noexcept {
  *count = kCount;
  return kVariants;
}

const MatmulBf16Variant* select_matmul_bf16(Isa cap) noexcept {
  for (int i = 0; i < kCount; ++i)
    if (kVariants[i].isa <= cap && isa_usable(kVariants[i].isa)) return &kVariants[i];
  return nullptr;
}

}  // namespace nbl::kernels
