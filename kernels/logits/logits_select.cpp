#include "kernels/logits/logits.h"

namespace nbl::kernels {

#define NBL_LOGITS(name, isa, suffix)                                   \
  float logits_max_##suffix(const float* x, int64_t n, int64_t* index); \
  double logits_sum_exp_##suffix(const float* x, int64_t n, float max); \
  void logits_sums_##suffix(const float* a, const float* b, int64_t n, float max_a, float max_b, LogitSums* out);
#include "kernels/logits/logits_variants.inc"
#undef NBL_LOGITS

namespace {
const LogitKernels kVariants[] = {
#define NBL_LOGITS(name, isa, suffix) {name, isa, logits_max_##suffix, logits_sum_exp_##suffix, logits_sums_##suffix},
#include "kernels/logits/logits_variants.inc"
#undef NBL_LOGITS
};
constexpr int kCount = sizeof(kVariants) / sizeof(kVariants[0]);
}  // namespace

const LogitKernels* logit_kernels(int* count) {
  *count = kCount;
  return kVariants;
}

const LogitKernels* logit_select(bool (*usable)(int isa)) {
  for (const LogitKernels& v : kVariants)
    if (v.isa == 0 || usable(v.isa)) return &v;
  return &kVariants[kCount - 1];
}

}  // namespace nbl::kernels
