#include <cstdint>

#include "kernels/feedback/feedback.h"

namespace nbl::kernels::feedback {
namespace {

constexpr int kLanes = 1;
using V = float;
inline V load(const float* p) { return *p; }
inline void store(float* p, V v) { *p = v; }
inline V zero() { return 0.0f; }
inline V broadcast(float v) { return v; }
inline V fma(V a, V b, V c) { return __builtin_fmaf(a, b, c); }
#include "kernels/feedback/feedback_body.inl"

}  // namespace

void feedback_scalar(const FeedbackArgs& args) { feedback_all<4, 4>(args); }

}  // namespace nbl::kernels::feedback
