#include "kernels/attention/attention.inl"

namespace nbl::kernels {

extern const AttentionKernels kAttention_avx512;
const AttentionKernels kAttention_avx512 =
    Attention<XsimdLanes<xsimd::avx512bw>, Avx512Cache, 16>::table("attention__avx512", Isa::avx512);

}  // namespace nbl::kernels
