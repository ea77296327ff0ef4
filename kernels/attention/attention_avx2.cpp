#include "kernels/attention/attention.inl"

namespace nbl::kernels {

extern const AttentionKernels kAttention_avx2;
const AttentionKernels kAttention_avx2 =
    Attention<XsimdLanes<xsimd::fma3<xsimd::avx2>>, Avx2Cache, 4>::table("attention__avx2", Isa::avx2);

}  // namespace nbl::kernels
