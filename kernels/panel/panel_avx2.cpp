#include <immintrin.h>

#include <cstdint>

#include "kernels/panel/panel.h"

namespace nbl::kernels::panel_avx2 {
namespace {

constexpr int kLanes = 8, kVectors = 2, kFeedbackBlock = 4;
using V = __m256;
inline V load(const float* p) { return _mm256_load_ps(p); }
inline void store(float* p, V v) { _mm256_store_ps(p, v); }
inline V zero(V) { return _mm256_setzero_ps(); }
inline V broadcast(float v) { return _mm256_set1_ps(v); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
using D = __m256d;
inline D load(const double* p) { return _mm256_load_pd(p); }
inline void store(double* p, D v) { _mm256_store_pd(p, v); }
inline D zero(D) { return _mm256_setzero_pd(); }
inline D broadcast(double v) { return _mm256_set1_pd(v); }
inline D fma(D a, D b, D c) { return _mm256_fmadd_pd(a, b, c); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V min(V a, V b) { return _mm256_min_ps(a, b); }
inline V max(V a, V b) { return _mm256_max_ps(a, b); }
using M = __m256;
inline M greater(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
inline V select(M m, V yes, V no) { return _mm256_blendv_ps(no, yes, m); }
inline uint32_t lane_bits(M m) { return static_cast<uint32_t>(_mm256_movemask_ps(m)); }

}  // namespace

#include "kernels/panel/panel_body.inl"
#include "kernels/panel/panel_trellis.inl"

}  // namespace nbl::kernels::panel_avx2
