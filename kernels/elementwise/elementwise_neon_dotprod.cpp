#include "kernels/elementwise/elementwise.inl"

namespace nbl::kernels {

extern const ElementwiseKernels kElementwise_neon_dotprod;
const ElementwiseKernels kElementwise_neon_dotprod =
    Elementwise<XsimdLanes<xsimd::neon64>>::table("elementwise__neon_dotprod", Isa::neon_dotprod);

}  // namespace nbl::kernels
