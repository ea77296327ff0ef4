#include "kernels/prepare_input/prepare_input.h"

namespace nbl::kernels {

#define NBL_VARIANT(isa, suffix) void prepare_input__##suffix(const PrepareInputArgs* args) noexcept;
#include "kernels/prepare_input/prepare_input_variants.inc"
#undef NBL_VARIANT

namespace {
constexpr PrepareInputVariant kVariants[] = {
#define NBL_VARIANT(isa, suffix) {isa, "prepare_input__" #suffix, prepare_input__##suffix},
#include "kernels/prepare_input/prepare_input_variants.inc"
#undef NBL_VARIANT
};
constexpr int kCount = sizeof(kVariants) / sizeof(kVariants[0]);
}  // namespace

const PrepareInputVariant* prepare_input_variants(int* count) noexcept {
  *count = kCount;
  return kVariants;
}

const PrepareInputVariant& select_prepare_input(Isa cap) noexcept {
  for (const PrepareInputVariant& v : kVariants)
    if (v.isa <= cap && isa_usable(v.isa)) return v;
  return kVariants[kCount - 1];
}

}  // namespace nbl::kernels
