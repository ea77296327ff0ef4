#include <immintrin.h>

#include <cstdint>

#include "kernels/feedback/feedback.h"

namespace nbl::kernels::feedback {
namespace {

constexpr int kLanes = 16;
using V = __m512;
inline V load(const float* p) { return _mm512_load_ps(p); }
inline void store(float* p, V v) { _mm512_store_ps(p, v); }
inline V zero() { return _mm512_setzero_ps(); }
inline V broadcast(float v) { return _mm512_set1_ps(v); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
#include "kernels/feedback/feedback_body.inl"

}  // namespace

void feedback_avx512(const FeedbackArgs& args) { feedback_all<8, 2>(args); }

}  // namespace nbl::kernels::feedback
