#include "kernels/attention/attention.h"

namespace nbl::kernels {

#define NBL_VARIANT(isa) extern const AttentionKernels kAttention_##isa;
#include "kernels/attention/variants.inc"
#undef NBL_VARIANT

const AttentionKernels& attention_kernels(Isa isa) noexcept {
  const AttentionKernels* best = &kAttention_scalar;
#define NBL_VARIANT(name) \
  if (static_cast<int>(isa) >= static_cast<int>(Isa::name)) best = &kAttention_##name;
#include "kernels/attention/variants.inc"
#undef NBL_VARIANT
  return *best;
}

}  // namespace nbl::kernels
