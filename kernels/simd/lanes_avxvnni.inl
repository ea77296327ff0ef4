// Lanes256 with AVX-VNNI's dot product of unsigned and signed bytes. Included after lanes_avx2.inl.

struct Lanes256Vnni : Lanes256 {
  static constexpr bool kSignedWide = false;  // dot_wide takes unsigned codes
  static constexpr bool kPairs = false;
  static NBL_INLINE __m256i dot_half(__m256i acc, __m256i w, __m256i x) {
#if defined(__clang__)
    return _mm256_dpbusd_avx_epi32(acc, w, x);
#else
    // As in lanes_avx512vnni.inl: keeps GCC 12 from copying accumulators.
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(w), "x"(x));
    return acc;
#endif
  }
  static NBL_INLINE I dot_narrow(I acc, I w, I x) { return {dot_half(acc.a, w.a, x.a), dot_half(acc.b, w.b, x.b)}; }
  static NBL_INLINE I dot_wide(I acc, I w, I x) { return dot_narrow(acc, w, x); }
};
