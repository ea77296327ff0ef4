#include "kernels/rounding/rounding.h"

namespace nbl::kernels {

#define NBL_VARIANT(isa) \
  namespace rounding_##isa { \
  bool finite(const float*, int64_t); \
  void extent(const float*, int64_t, float*, float*); \
  void affine_codes(const float*, int64_t, float, float, float, uint8_t*); \
  void centered_codes(const float*, int64_t, float, uint8_t*); \
  void table_codes(const TableCodesArgs&); \
  void e4m3_codes(const float*, int64_t, float, uint8_t*); \
  void squared_error(const float*, const float*, const float*, int64_t, double*, double*); \
  void widen_bf16(const void*, int64_t, float*); \
  void widen_e4m3(const uint8_t*, int64_t, float*); \
  void table_values(const uint8_t*, int64_t, float, const float*, float*); \
  void affine_values(const uint8_t*, int64_t, float, float, float*); \
  void minimum_values(const uint8_t*, int64_t, float, float, float*); \
  }
#include "kernels/rounding/rounding_variants.inc"
#undef NBL_VARIANT

namespace {

constexpr RoundingKernels kVariants[] = {
#define NBL_VARIANT(name)                                                                                                     \
  {"rounding__" #name,        Isa::name,                  rounding_##name::finite,       rounding_##name::extent,            \
   rounding_##name::affine_codes, rounding_##name::centered_codes, rounding_##name::table_codes, rounding_##name::e4m3_codes, \
   rounding_##name::squared_error, rounding_##name::widen_bf16, rounding_##name::widen_e4m3, rounding_##name::table_values,    \
   rounding_##name::affine_values, rounding_##name::minimum_values},
#include "kernels/rounding/rounding_variants.inc"
#undef NBL_VARIANT
};
constexpr int kCount = static_cast<int>(sizeof(kVariants) / sizeof(kVariants[0]));

}  // namespace

const RoundingKernels* rounding_variants(int* count) noexcept {
  *count = kCount;
  return kVariants;
}

const RoundingKernels& rounding_kernels(Isa isa) noexcept {
  for (const RoundingKernels& v : kVariants)
    if (v.isa <= isa && (v.isa == Isa::scalar || (v.isa < Isa::neon_dotprod) == (isa < Isa::neon_dotprod))) return v;
  return kVariants[kCount - 1];
}

}  // namespace nbl::kernels
