#include "kernels/gram/gram.h"

namespace nbl::kernels {

#define NBL_GRAM(name, isa, fn) void fn(const GramArgs* args);
#include "kernels/gram/gram_variants.inc"
#undef NBL_GRAM

namespace {
const GramVariant kVariants[] = {
#define NBL_GRAM(name, isa, fn) {name, isa, fn},
#include "kernels/gram/gram_variants.inc"
#undef NBL_GRAM
};
constexpr int kCount = sizeof(kVariants) / sizeof(kVariants[0]);
}  // namespace

const GramVariant* gram_variants(int* count) {
  *count = kCount;
  return kVariants;
}

const GramVariant* gram_select(bool (*usable)(int isa)) {
  for (const GramVariant& v : kVariants)
    if (v.isa == 0 || usable(v.isa)) return &v;
  return &kVariants[kCount - 1];
}

}  // namespace nbl::kernels
