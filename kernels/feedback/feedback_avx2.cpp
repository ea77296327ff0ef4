#include <immintrin.h>

#include <cstdint>

#include "kernels/feedback/feedback.h"

namespace nbl::kernels::feedback {
namespace {

constexpr int kLanes = 8;
using V = __m256;
inline V load(const float* p) { return _mm256_load_ps(p); }
inline void store(float* p, V v) { _mm256_store_ps(p, v); }
inline V zero() { return _mm256_setzero_ps(); }
inline V broadcast(float v) { return _mm256_set1_ps(v); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
#include "kernels/feedback/feedback_body.inl"

}  // namespace

void feedback_avx2(const FeedbackArgs& args) { feedback_all<4, 2>(args); }

}  // namespace nbl::kernels::feedback
