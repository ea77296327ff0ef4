#include "kernels/qmatmul_exact/qmatmul_exact.h"

namespace nbl::kernels {

#define NBL_VARIANT(isa, suffix) void qmatmul_exact__##suffix(const QmatmulExactArgs* args) noexcept;
#include "kernels/qmatmul_exact/qmatmul_exact_variants.inc"
#undef NBL_VARIANT

namespace {
constexpr QmatmulExactVariant kVariants[] = {
#define NBL_VARIANT(isa, suffix) {isa, "qmatmul_exact__" #suffix, qmatmul_exact__##suffix},
#include "kernels/qmatmul_exact/qmatmul_exact_variants.inc"
#undef NBL_VARIANT
};
constexpr int kCount = sizeof(kVariants) / sizeof(kVariants[0]);
}  // namespace

const QmatmulExactVariant* qmatmul_exact_variants(int* count) noexcept {
  *count = kCount;
  return kVariants;
}

const QmatmulExactVariant& select_qmatmul_exact(Isa cap) noexcept {
  for (const QmatmulExactVariant& v : kVariants)
    if (v.isa <= cap && isa_usable(v.isa)) return v;
  return kVariants[kCount - 1];
}

}  // namespace nbl::kernels
