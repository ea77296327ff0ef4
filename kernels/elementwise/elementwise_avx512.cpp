#include "kernels/elementwise/elementwise.inl"

namespace nbl::kernels {

extern const ElementwiseKernels kElementwise_avx512;
const ElementwiseKernels kElementwise_avx512 =
    Elementwise<XsimdLanes<xsimd::avx512bw>>::table("elementwise__avx512", Isa::avx512);

}  // namespace nbl::kernels
