#include "kernels/attention/attention.inl"

namespace nbl::kernels {

extern const AttentionKernels kAttention_scalar;
const AttentionKernels kAttention_scalar =
    Attention<ScalarLanes, PlainCache<ScalarLanes>, 1>::table("attention__scalar", Isa::scalar);

}  // namespace nbl::kernels
