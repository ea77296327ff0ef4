#include "kernels/limits/limits.h"

namespace nbl::kernels {

#define NBL_VARIANT(limit, isa, suffix) void limit_##limit##__##suffix(LimitArgs* args) noexcept;
#include "kernels/limits/limits_variants.inc"
#undef NBL_VARIANT

namespace {
constexpr LimitVariant kVariants[] = {
#define NBL_VARIANT(limit, isa, suffix) {Limit::limit, isa, #limit "__" #suffix, limit_##limit##__##suffix},
#include "kernels/limits/limits_variants.inc"
#undef NBL_VARIANT
};
constexpr int kCount = sizeof(kVariants) / sizeof(kVariants[0]);
}  // namespace

const LimitVariant* limit_variants(int* count) noexcept {
  *count = kCount;
  return kVariants;
}

const LimitVariant* select_limit(Limit limit, Isa cap) noexcept {
  for (const LimitVariant& v : kVariants)
    if (v.limit == limit && v.isa <= cap && isa_usable(v.isa)) return &v;
  return nullptr;
}

}  // namespace nbl::kernels
