// Lanes for AVX2 + FMA + F16C: two registers hold a line of a tile. Included inside an anonymous namespace.

struct Lanes256 {
  struct I {
    __m256i a, b;
  };
  struct F {
    __m256 a, b;
  };
  struct TableF {
    __m256 lo, hi;
  };
  struct TableB {
    __m256i t;
  };
  static constexpr bool kSignedWide = true;
  static constexpr int kRegisters = 16;
  static constexpr bool kMatrix = false;
  static constexpr bool kPairs = true;  // dot_narrow is widen(pair_products)

  static NBL_INLINE I load(const void* p) {
    const __m256i* v = static_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)};
  }
  static NBL_INLINE void store(void* p, I v) {
    __m256i* o = static_cast<__m256i*>(p);
    _mm256_storeu_si256(o, v.a);
    _mm256_storeu_si256(o + 1, v.b);
  }
  static NBL_INLINE I zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static NBL_INLINE I set1(int32_t v) { return {_mm256_set1_epi32(v), _mm256_set1_epi32(v)}; }
  static NBL_INLINE I band(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
  static NBL_INLINE I bor(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
  static NBL_INLINE I bxor(I x, I y) { return {_mm256_xor_si256(x.a, y.a), _mm256_xor_si256(x.b, y.b)}; }
  static NBL_INLINE I add(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
  template <int N>
  static NBL_INLINE I shift_right(I v) {
    if constexpr (N > 0)
      return {_mm256_srli_epi32(v.a, N), _mm256_srli_epi32(v.b, N)};
    else if constexpr (N < 0)
      return {_mm256_slli_epi32(v.a, -N), _mm256_slli_epi32(v.b, -N)};
    else
      return v;
  }
  // Of multiples of 4.
  static NBL_INLINE I quarter(I v) { return {_mm256_srai_epi32(v.a, 2), _mm256_srai_epi32(v.b, 2)}; }
  static NBL_INLINE I quad(const void* p) {
    int32_t v;
    __builtin_memcpy(&v, p, 4);
    const __m256i q = _mm256_set1_epi32(v);
    return {q, q};
  }
  static NBL_INLINE __m256i widen_half(__m256i acc, __m256i pairs) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static NBL_INLINE __m256i dot_half(__m256i acc, __m256i w, __m256i x) {
    return widen_half(acc, _mm256_maddubs_epi16(w, x));
  }
  // Sums of two products in 16 bits, which saturate; several that cannot reach 32,767 may be added before they are widened.
  static NBL_INLINE I pair_products(I w, I x) { return {_mm256_maddubs_epi16(w.a, x.a), _mm256_maddubs_epi16(w.b, x.b)}; }
  static NBL_INLINE __m256i add_products_half(__m256i pairs, __m256i w, __m256i x) {
#if defined(__clang__)
    return _mm256_add_epi16(pairs, _mm256_maddubs_epi16(w, x));
#else
    // GCC 12 makes products ahead, and copies and spills the sums; with the operand tied here it keeps them in place.
    __m256i two;
    __asm__("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0" : "+x"(pairs), "=&x"(two) : "x"(w), "x"(x));
    return pairs;
#endif
  }
  static NBL_INLINE I add_products(I pairs, I w, I x) {
    return {add_products_half(pairs.a, w.a, x.a), add_products_half(pairs.b, w.b, x.b)};
  }
  static NBL_INLINE I widen(I acc, I pairs) { return {widen_half(acc.a, pairs.a), widen_half(acc.b, pairs.b)}; }
  static NBL_INLINE I dot_narrow(I acc, I w, I x) { return {dot_half(acc.a, w.a, x.a), dot_half(acc.b, w.b, x.b)}; }
  static NBL_INLINE I dot_wide(I acc, I w, I x) {
    return {dot_half(acc.a, _mm256_abs_epi8(w.a), _mm256_sign_epi8(x.a, w.a)),
            dot_half(acc.b, _mm256_abs_epi8(w.b), _mm256_sign_epi8(x.b, w.b))};
  }

  static NBL_INLINE F load_f(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static NBL_INLINE void store_f(float* p, F v) {
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
  }
  static NBL_INLINE F zero_f() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static NBL_INLINE F set1_f(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
  static NBL_INLINE F add_f(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static NBL_INLINE F sub_f(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static NBL_INLINE F mul_f(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static NBL_INLINE F fma(F x, F y, F c) { return {_mm256_fmadd_ps(x.a, y.a, c.a), _mm256_fmadd_ps(x.b, y.b, c.b)}; }
  static NBL_INLINE F fnma(F x, F y, F c) { return {_mm256_fnmadd_ps(x.a, y.a, c.a), _mm256_fnmadd_ps(x.b, y.b, c.b)}; }
  static NBL_INLINE F to_f(I v) { return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)}; }
  static NBL_INLINE F as_f(I v) { return {_mm256_castsi256_ps(v.a), _mm256_castsi256_ps(v.b)}; }

  static NBL_INLINE F from_f16(const void* p) { return {_mm256_cvtph_ps(part(p, 0)), _mm256_cvtph_ps(part(p, 1))}; }
  static NBL_INLINE F from_bf16(const void* p) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(part(p, 0)), 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(part(p, 1)), 16))};
  }
  static NBL_INLINE I widen_u8(const void* p) {
    const __m128i v = part(p, 0);
    return {_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))};
  }
  static NBL_INLINE F f16_in_lanes(I v) {
    // The lanes hold at most 16 significant bits, so the saturating pack keeps them; it works in 128-bit halves.
    const __m256i p = _mm256_permute4x64_epi64(_mm256_packus_epi32(v.a, v.b), 0xd8);
    return {_mm256_cvtph_ps(_mm256_castsi256_si128(p)), _mm256_cvtph_ps(_mm256_extracti128_si256(p, 1))};
  }

  static NBL_INLINE I max_i32(I x, I y) { return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)}; }
  static NBL_INLINE F where_ne(I x, I y, F v, F other) {
    return {_mm256_blendv_ps(v.a, other.a, _mm256_castsi256_ps(_mm256_cmpeq_epi32(x.a, y.a))),
            _mm256_blendv_ps(v.b, other.b, _mm256_castsi256_ps(_mm256_cmpeq_epi32(x.b, y.b)))};
  }

  // Rounds to the nearest integer, ties to even.
  static NBL_INLINE I round_i(F v) { return {_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b)}; }
  // Sixteen lanes within int8 to 16 bytes.
  static NBL_INLINE void store_i8(void* p, I v) {
    const __m256i w = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.a, v.b), 0xd8);
    _mm_storeu_si128(static_cast<__m128i*>(p),
                     _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1)));
  }
  // Eight floats to bfloat16 in the low halves of the lanes, rounded to nearest even, NaN quieted.
  static NBL_INLINE __m256i bf16_half(__m256 v) {
    const __m256i b = _mm256_castps_si256(v);
    const __m256i lsb = _mm256_and_si256(_mm256_srli_epi32(b, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(b, _mm256_add_epi32(lsb, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(b, _mm256_set1_epi32(0x00400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, nan), 16);
  }
  static NBL_INLINE void store_bf16(void* p, F v) {
    const __m256i packed = _mm256_packus_epi32(bf16_half(v.a), bf16_half(v.b));
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
  }
  static NBL_INLINE int32_t reduce_max(I v) {
    const __m256i m = _mm256_max_epi32(v.a, v.b);
    __m128i h = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(h, _mm_shuffle_epi32(h, 0xb1)));
  }
  static NBL_INLINE int32_t reduce_add(I v) {
    const __m256i m = _mm256_add_epi32(v.a, v.b);
    __m128i h = _mm_add_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    h = _mm_add_epi32(h, _mm_shuffle_epi32(h, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(h, _mm_shuffle_epi32(h, 0xb1)));
  }
  static NBL_INLINE I bits(F v) { return {_mm256_castps_si256(v.a), _mm256_castps_si256(v.b)}; }

  static NBL_INLINE TableF table_f(const float* t) { return {_mm256_loadu_ps(t), _mm256_loadu_ps(t + 8)}; }
  static NBL_INLINE __m256 lookup_half(const TableF& t, __m256i index) {
    const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(t.lo, index), _mm256_permutevar8x32_ps(t.hi, index), upper);
  }
  static NBL_INLINE F lookup_f(const TableF& t, I index) { return {lookup_half(t, index.a), lookup_half(t, index.b)}; }
  static NBL_INLINE TableB table_b(const int8_t* t) { return {_mm256_broadcastsi128_si256(part(t, 0))}; }
  static NBL_INLINE I lookup_b(const TableB& t, I codes) {
    return {_mm256_shuffle_epi8(t.t, codes.a), _mm256_shuffle_epi8(t.t, codes.b)};
  }
  // In `high` where bit BIT of the selector's byte is set.
  template <int BIT>
  static NBL_INLINE __m256i lookup_half_b(const TableB& low, const TableB& high, __m256i codes, __m256i selector) {
    const __m256i upper = _mm256_slli_epi16(selector, 7 - BIT);
    return _mm256_blendv_epi8(_mm256_shuffle_epi8(low.t, codes), _mm256_shuffle_epi8(high.t, codes), upper);
  }
  template <int BIT>
  static NBL_INLINE I lookup_b(const TableB& low, const TableB& high, I codes, I selector) {
    return {lookup_half_b<BIT>(low, high, codes.a, selector.a), lookup_half_b<BIT>(low, high, codes.b, selector.b)};
  }

  template <int BITS>
  static NBL_INLINE I bit_stream(uint64_t low, uint64_t high) {
    const __m128i bytes = _mm_set_epi64x(static_cast<int64_t>(high), static_cast<int64_t>(low));
    const __m256i all = _mm256_broadcastsi128_si256(bytes);
    const I shuffle = load(kBitStream<BITS>.shuffle);
    const I shift = load(kBitStream<BITS>.shift);
    const I mask = set1((1 << BITS) - 1);
    return {_mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi8(all, shuffle.a), shift.a), mask.a),
            _mm256_and_si256(_mm256_srlv_epi32(_mm256_shuffle_epi8(all, shuffle.b), shift.b), mask.b)};
  }

 private:
  static NBL_INLINE __m128i part(const void* p, int i) { return _mm_loadu_si128(static_cast<const __m128i*>(p) + i); }
};
