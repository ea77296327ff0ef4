#include "kernels/qmatmul_int8/qmatmul_int8.h"

namespace nbl::kernels {

#define NBL_VARIANT(isa, suffix) void qmatmul_int8__##suffix(const QmatmulInt8Args* args) noexcept;
#include "kernels/qmatmul_int8/qmatmul_int8_variants.inc"
#undef NBL_VARIANT

namespace {
constexpr QmatmulInt8Variant kVariants[] = {
#define NBL_VARIANT(isa, suffix) {isa, "qmatmul_int8__" #suffix, qmatmul_int8__##suffix},
#include "kernels/qmatmul_int8/qmatmul_int8_variants.inc"
#undef NBL_VARIANT
};
constexpr int kCount = sizeof(kVariants) / sizeof(kVariants[0]);
}  // namespace

const QmatmulInt8Variant* qmatmul_int8_variants(int* count) noexcept {
  *count = kCount;
  return kVariants;
}

const QmatmulInt8Variant& select_qmatmul_int8(Isa cap) noexcept {
  for (const QmatmulInt8Variant& v : kVariants)
    if (v.isa <= cap && isa_usable(v.isa)) return v;
  return kVariants[kCount - 1];
}

}  // namespace nbl::kernels
