// Lanes512 with VNNI's dot product of unsigned and signed bytes. Included after lanes_avx512.inl.

struct Lanes512Vnni : Lanes512 {
  static constexpr bool kSignedWide = false;  // dot_wide takes unsigned codes
  static NBL_INLINE I dot_narrow(I acc, I w, I x) { return _mm512_dpbusd_epi32(acc, w, x); }
  static NBL_INLINE I dot_wide(I acc, I w, I x) { return _mm512_dpbusd_epi32(acc, w, x); }
};
