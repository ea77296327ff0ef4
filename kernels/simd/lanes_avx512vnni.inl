// Lanes512 with VNNI's dot product of unsigned and signed bytes. Included after lanes_avx512.inl.

struct Lanes512Vnni : Lanes512 {
  static constexpr bool kSignedWide = false;  // dot_wide takes unsigned codes
  static constexpr bool kPairs = false;
  static NBL_INLINE I dot_narrow(I acc, I w, I x) {
#if defined(__clang__)
    return _mm512_dpbusd_epi32(acc, w, x);
#else
    // GCC 12 copies and spills every accumulator around its intrinsic; with the operand tied here it keeps them in
    // place.
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));
    return acc;
#endif
  }
  static NBL_INLINE I dot_wide(I acc, I w, I x) { return dot_narrow(acc, w, x); }
};
