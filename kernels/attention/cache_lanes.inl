// Sixteen elements of the cache, of any of its types, as sixteen floats and back.
#pragma once

#include <cstdint>

#include "base/half.h"
#include "kernels/elementwise/lanes.inl"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace nbl::kernels {
namespace {

struct F16 {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};

/// For any lanes; 16-bit types one by one.
template <class L>
struct PlainCache {
  using V = typename L::V;
  static NBL_INLINE V load(const float* p) { return L::load(p); }
  static NBL_INLINE V load(const F16* p) {
    float t[16];
    for (int i = 0; i < 16; ++i) t[i] = f16_to_f32(p[i].bits);
    return L::load(t);
  }
  static NBL_INLINE V load(const Bf16* p) {
    uint32_t t[16];
    for (int i = 0; i < 16; ++i) t[i] = static_cast<uint32_t>(p[i].bits) << 16;
    float f[16];
    std::memcpy(f, t, sizeof f);
    return L::load(f);
  }
  static NBL_INLINE void store(F16* p, V v) {
    float t[16];
    L::store(t, v);
    for (int i = 0; i < 16; ++i) p[i].bits = f32_to_f16(t[i]);
  }
  static NBL_INLINE void store(Bf16* p, V v) {
    float t[16];
    L::store(t, v);
    for (int i = 0; i < 16; ++i) p[i].bits = f32_to_bf16(t[i]);
  }
};

#if defined(__AVX2__)
struct Avx2Cache : PlainCache<XsimdLanes<xsimd::fma3<xsimd::avx2>>> {
  using L = XsimdLanes<xsimd::fma3<xsimd::avx2>>;
  using V = L::V;
  using PlainCache<L>::load;
  using PlainCache<L>::store;
  static NBL_INLINE V load(const F16* p) {
    const __m128i* from = reinterpret_cast<const __m128i*>(p);
    return V{{_mm256_cvtph_ps(_mm_loadu_si128(from)), _mm256_cvtph_ps(_mm_loadu_si128(from + 1))}};
  }
  static NBL_INLINE V load(const Bf16* p) {
    const __m128i* from = reinterpret_cast<const __m128i*>(p);
    const auto wide = [](__m128i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)); };
    return V{{wide(_mm_loadu_si128(from)), wide(_mm_loadu_si128(from + 1))}};
  }
  static NBL_INLINE void store(F16* p, V v) {
    __m128i* to = reinterpret_cast<__m128i*>(p);
    _mm_storeu_si128(to, _mm256_cvtps_ph(v.r[0], _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(to + 1, _mm256_cvtps_ph(v.r[1], _MM_FROUND_TO_NEAREST_INT));
  }
};
#endif

#if defined(__AVX512F__)
struct Avx512Cache : PlainCache<XsimdLanes<xsimd::avx512bw>> {
  using L = XsimdLanes<xsimd::avx512bw>;
  using V = L::V;
  using PlainCache<L>::load;
  using PlainCache<L>::store;
  static NBL_INLINE V load(const F16* p) {
    return V{{_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}};
  }
  static NBL_INLINE V load(const Bf16* p) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return V{{_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16))}};
  }
  static NBL_INLINE void store(F16* p, V v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v.r[0], _MM_FROUND_TO_NEAREST_INT));
  }
};
#endif

}  // namespace
}  // namespace nbl::kernels
