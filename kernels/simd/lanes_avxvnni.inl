// Lanes256 with AVX-VNNI's dot product of unsigned and signed bytes. Included after lanes_avx2.inl.

struct Lanes256Vnni : Lanes256 {
  static constexpr bool kSignedWide = false;  // dot_wide takes unsigned codes
  static NBL_INLINE I dot_narrow(I acc, I w, I x) {
    return {_mm256_dpbusd_avx_epi32(acc.a, w.a, x.a), _mm256_dpbusd_avx_epi32(acc.b, w.b, x.b)};
  }
  static NBL_INLINE I dot_wide(I acc, I w, I x) { return dot_narrow(acc, w, x); }
};
