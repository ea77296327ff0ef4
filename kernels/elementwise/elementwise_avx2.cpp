#include "kernels/elementwise/elementwise.inl"

namespace nbl::kernels {

extern const ElementwiseKernels kElementwise_avx2;
const ElementwiseKernels kElementwise_avx2 =
    Elementwise<XsimdLanes<xsimd::fma3<xsimd::avx2>>>::table("elementwise__avx2", Isa::avx2);

}  // namespace nbl::kernels
