#include "kernels/feedback/feedback.h"

namespace nbl::kernels {

FeedbackFn select_feedback(Isa isa) noexcept {
  // Levels are ordered but for avxvnni, which lies between avx2 and avx512 and implies only the former: the order holds for it.
#define NBL_FEEDBACK(function, needed) \
  if (isa >= (needed) && (isa < Isa::neon_dotprod || (needed) == Isa::scalar)) return feedback::function;
#include "kernels/feedback/variants.inc"
#undef NBL_FEEDBACK
  return feedback::feedback_scalar;
}

}  // namespace nbl::kernels
