// Lanes for AVX-512 F, BW, VL, DQ: one register holds a line of a tile. Included inside an anonymous namespace.

struct Lanes512 {
  using I = __m512i;  // 64 bytes, or 16 int32
  using F = __m512;   // 16 floats
  struct TableF {
    __m512 t;
  };
  struct TableB {
    __m512i t;
  };
  static constexpr bool kSignedWide = true;  // dot_wide takes codes - 128
  static constexpr int kRegisters = 32;
  static constexpr bool kMatrix = false;  // has no matrix tiles
  static constexpr bool kPairs = true;

  static NBL_INLINE I load(const void* p) { return _mm512_loadu_si512(p); }
  static NBL_INLINE void store(void* p, I v) { _mm512_storeu_si512(p, v); }
  static NBL_INLINE I zero() { return _mm512_setzero_si512(); }
  static NBL_INLINE I set1(int32_t v) { return _mm512_set1_epi32(v); }
  static NBL_INLINE I band(I a, I b) { return _mm512_and_si512(a, b); }
  static NBL_INLINE I bor(I a, I b) { return _mm512_or_si512(a, b); }
  static NBL_INLINE I bxor(I a, I b) { return _mm512_xor_si512(a, b); }
  static NBL_INLINE I sub_i8(I a, I b) { return _mm512_sub_epi8(a, b); }
  static NBL_INLINE I add(I a, I b) { return _mm512_add_epi32(a, b); }
  template <int N>
  static NBL_INLINE I shift_right(I v) {
    if constexpr (N > 0)
      return _mm512_srli_epi32(v, N);
    else if constexpr (N < 0)
      return _mm512_slli_epi32(v, -N);
    else
      return v;
  }
  static NBL_INLINE I quad(const void* p) {
    int32_t v;
    __builtin_memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
  }
  // As in lanes_avx2.inl.
  static NBL_INLINE I pair_products(I w, I x) { return _mm512_maddubs_epi16(w, x); }
  static NBL_INLINE I add_products(I pairs, I w, I x) {
#if defined(__clang__)
    return _mm512_add_epi16(pairs, _mm512_maddubs_epi16(w, x));
#else
    I two;
    __asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0" : "+v"(pairs), "=&v"(two) : "v"(w), "v"(x));
    return pairs;
#endif
  }
  static NBL_INLINE I widen(I acc, I pairs) {
    return _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
  static NBL_INLINE I dot_narrow(I acc, I w, I x) { return widen(acc, pair_products(w, x)); }
  static NBL_INLINE I dot_wide(I acc, I w, I x) {
    const __mmask64 negative = _mm512_movepi8_mask(w);
    const I x_signed = _mm512_mask_sub_epi8(x, negative, _mm512_setzero_si512(), x);
    return dot_narrow(acc, _mm512_abs_epi8(w), x_signed);
  }

  static NBL_INLINE F load_f(const float* p) { return _mm512_loadu_ps(p); }
  static NBL_INLINE void store_f(float* p, F v) { _mm512_storeu_ps(p, v); }
  static NBL_INLINE F zero_f() { return _mm512_setzero_ps(); }
  static NBL_INLINE F set1_f(float v) { return _mm512_set1_ps(v); }
  static NBL_INLINE F add_f(F a, F b) { return _mm512_add_ps(a, b); }
  static NBL_INLINE F sub_f(F a, F b) { return _mm512_sub_ps(a, b); }
  static NBL_INLINE F mul_f(F a, F b) { return _mm512_mul_ps(a, b); }
  static NBL_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static NBL_INLINE F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static NBL_INLINE F to_f(I v) { return _mm512_cvtepi32_ps(v); }
  static NBL_INLINE F as_f(I v) { return _mm512_castsi512_ps(v); }

  // Sixteen numbers of a type to floats.
  static NBL_INLINE F from_f16(const void* p) { return _mm512_cvtph_ps(half(p)); }
  static NBL_INLINE F from_bf16(const void* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half(p)), 16));
  }
  static NBL_INLINE I widen_u8(const void* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  // The low 16 bits of each lane taken as binary16.
  static NBL_INLINE F f16_in_lanes(I v) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)); }

  static NBL_INLINE I max_i32(I a, I b) { return _mm512_max_epi32(a, b); }
  // v where a != b, else other.
  static NBL_INLINE F where_ne(I a, I b, F v, F other) {
    return _mm512_mask_mov_ps(other, _mm512_cmpneq_epi32_mask(a, b), v);
  }

  // Rounds to the nearest integer, ties to even.
  static NBL_INLINE I round_i(F v) { return _mm512_cvtps_epi32(v); }
  // Sixteen lanes within int8 to 16 bytes.
  static NBL_INLINE void store_i8(void* p, I v) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(v));
  }
  // Sixteen floats to bfloat16, rounded to nearest even, NaN quieted.
  static NBL_INLINE void store_bf16(void* p, F v) {
    const __m512i b = _mm512_castps_si512(v);
    const __m512i lsb = _mm512_and_si512(_mm512_srli_epi32(b, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(b, _mm512_add_epi32(lsb, _mm512_set1_epi32(0x7fff)));
    up = _mm512_mask_or_epi32(up, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), b, _mm512_set1_epi32(0x00400000));
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16)));
  }
  static NBL_INLINE int32_t reduce_max(I v) { return _mm512_reduce_max_epi32(v); }
  static NBL_INLINE int32_t reduce_add(I v) { return _mm512_reduce_add_epi32(v); }
  static NBL_INLINE I bits(F v) { return _mm512_castps_si512(v); }

  static NBL_INLINE TableF table_f(const float* t) { return {_mm512_loadu_ps(t)}; }
  static NBL_INLINE F lookup_f(const TableF& t, I index) { return _mm512_permutexvar_ps(index, t.t); }
  static NBL_INLINE TableB table_b(const int8_t* t) {
    return {_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(t)))};
  }
  static NBL_INLINE I lookup_b(const TableB& t, I codes) { return _mm512_shuffle_epi8(t.t, codes); }
  // In `high` where bit BIT of the selector's byte is set.
  template <int BIT>
  static NBL_INLINE I lookup_b(const TableB& low, const TableB& high, I codes, I selector) {
    const __mmask64 upper = _mm512_test_epi8_mask(selector, _mm512_set1_epi8(static_cast<char>(1 << BIT)));
    return _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(low.t, codes), upper, high.t, codes);
  }

  // Lane r: the field of BITS bits at bit r * BITS of 16 bytes, `low` before `high`.
  template <int BITS>
  static NBL_INLINE I bit_stream(uint64_t low, uint64_t high) {
    const __m128i bytes = _mm_set_epi64x(static_cast<int64_t>(high), static_cast<int64_t>(low));
    const __m512i all = _mm512_broadcast_i32x4(bytes);
    const __m512i pairs = _mm512_shuffle_epi8(all, _mm512_loadu_si512(kBitStream<BITS>.shuffle));
    return _mm512_and_si512(_mm512_srlv_epi32(pairs, _mm512_loadu_si512(kBitStream<BITS>.shift)),
                            _mm512_set1_epi32((1 << BITS) - 1));
  }

 private:
  static NBL_INLINE __m256i half(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
};
