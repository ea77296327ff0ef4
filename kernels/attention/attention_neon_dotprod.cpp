#include "kernels/attention/attention.inl"

namespace nbl::kernels {

extern const AttentionKernels kAttention_neon_dotprod;
const AttentionKernels kAttention_neon_dotprod =
    Attention<XsimdLanes<xsimd::neon64>, PlainCache<XsimdLanes<xsimd::neon64>>, 4>::table("attention__neon_dotprod",
                                                                                          Isa::neon_dotprod);

}  // namespace nbl::kernels
