#include "kernels/gram/gram.h"

namespace nbl::kernels {

#define NBL_GRAM(name, isa, fn) void fn(const GramArgs* args);
#define NBL_GRAM_BF16(name, isa, fn, pack)  \
  void fn(const GramBf16Args* args);        \
  void pack(const GramPackArgs* args);
#include "kernels/gram/gram_variants.inc"
#undef NBL_GRAM
#undef NBL_GRAM_BF16

namespace {
#define NBL_GRAM_BF16(name, isa, fn, pack)
const GramVariant kVariants[] = {
#define NBL_GRAM(name, isa, fn) {name, isa, fn},
#include "kernels/gram/gram_variants.inc"
#undef NBL_GRAM
};
#undef NBL_GRAM_BF16
constexpr int kCount = sizeof(kVariants) / sizeof(kVariants[0]);

#define NBL_GRAM(name, isa, fn)
const GramBf16Variant kBf16Variants[] = {
#define NBL_GRAM_BF16(name, isa, fn, pack) {name, isa, fn, pack},
#include "kernels/gram/gram_variants.inc"
#undef NBL_GRAM_BF16
    {nullptr, 0, nullptr, nullptr},  // the end: there may be none before it
};
#undef NBL_GRAM
constexpr int kBf16Count = sizeof(kBf16Variants) / sizeof(kBf16Variants[0]) - 1;
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

const GramBf16Variant* gram_bf16_variants(int* count) {
  *count = kBf16Count;
  return kBf16Variants;
}

const GramBf16Variant* gram_bf16_select(bool (*usable)(int isa)) {
  for (int v = 0; v < kBf16Count; ++v)
    if (usable(kBf16Variants[v].isa)) return &kBf16Variants[v];
  return nullptr;
}

}  // namespace nbl::kernels
