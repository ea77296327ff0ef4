#include <immintrin.h>

#include <cstdint>

#include "kernels/panel/panel.h"

namespace nbl::kernels::panel_avx512 {
namespace {

constexpr int kLanes = 16, kVectors = 2, kFeedbackBlock = 8;
using V = __m512;
inline V load(const float* p) { return _mm512_load_ps(p); }
inline void store(float* p, V v) { _mm512_store_ps(p, v); }
inline V zero(V) { return _mm512_setzero_ps(); }
inline V broadcast(float v) { return _mm512_set1_ps(v); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
using D = __m512d;
inline D load(const double* p) { return _mm512_load_pd(p); }
inline void store(double* p, D v) { _mm512_store_pd(p, v); }
inline D zero(D) { return _mm512_setzero_pd(); }
inline D broadcast(double v) { return _mm512_set1_pd(v); }
inline D fma(D a, D b, D c) { return _mm512_fmadd_pd(a, b, c); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V min(V a, V b) { return _mm512_min_ps(a, b); }
inline V max(V a, V b) { return _mm512_max_ps(a, b); }
using M = __mmask16;
inline M greater(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline V select(M m, V yes, V no) { return _mm512_mask_blend_ps(m, no, yes); }
inline uint32_t lane_bits(M m) { return m; }

}  // namespace

#include "kernels/panel/panel_body.inl"
#include "kernels/panel/panel_trellis.inl"

}  // namespace nbl::kernels::panel_avx512
