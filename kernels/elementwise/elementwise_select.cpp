#include "kernels/elementwise/elementwise.h"

namespace nbl::kernels {

#define NBL_VARIANT(isa) extern const ElementwiseKernels kElementwise_##isa;
#include "kernels/elementwise/variants.inc"
#undef NBL_VARIANT

const ElementwiseKernels& elementwise_kernels(Isa isa) noexcept {
  const ElementwiseKernels* best = &kElementwise_scalar;
#define NBL_VARIANT(name) \
  if (static_cast<int>(isa) >= static_cast<int>(Isa::name)) best = &kElementwise_##name;
#include "kernels/elementwise/variants.inc"
#undef NBL_VARIANT
  return *best;
}

}  // namespace nbl::kernels
