#include "kernels/elementwise/elementwise.inl"

namespace nbl::kernels {

extern const ElementwiseKernels kElementwise_scalar;
const ElementwiseKernels kElementwise_scalar = Elementwise<ScalarLanes>::table("elementwise__scalar", Isa::scalar);

}  // namespace nbl::kernels
