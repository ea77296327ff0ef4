// What the variants of matmul_bf16 share. Included inside an anonymous namespace after the AVX-512 lanes.
//
// For a pair of row tiles, columns are taken in blocks of 256: their lines of bfloat16 pairs (the weights themselves,
// or converted once) stay in the first-level cache while all activation rows of a block pass; the sums in between rest
// in a block of their own, [activation row][NT][16], until the last columns are done.

constexpr int64_t kBf16Columns = 256;  // a panel of two row tiles is 16 KB
constexpr int64_t kBf16Rows = 256;     // activation rows a block: their sums are 32 KB

// Sixteen floats in the lanes of `even` and `odd` columns to a line of pairs, rounded to nearest even.
NBL_INLINE __m512i pair_line(__m512 even, __m512 odd) {
  const auto round = [](__m512 v) NBL_INLINE_LAMBDA {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i lsb = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(lsb, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x00400000));
  };
  return _mm512_or_si512(_mm512_srli_epi32(round(even), 16),
                         _mm512_and_si512(round(odd), _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u))));
}

// `columns` (a multiple of 32) of one row tile from column k0 on as lines of bfloat16 pairs.
NBL_INLINE const uint8_t* bf16_panel(const SegmentView& w, int64_t tile, int64_t k0, int64_t columns, uint8_t* room) {
  const int64_t bytes = number_bytes(w.value_type);
  const uint8_t* p = w.codes + tile * w.column_tiles * w.tile_code_bytes() + k0 * 16 * bytes;
  if (w.value_type == Number::bf16) return p;
  if (w.value_type == Number::f16) {
    for (int64_t k = 0; k < columns; k += 2, p += 64) {
      const __m512i v = Lanes512::load(p);
      const __m512i line = pair_line(Lanes512::f16_in_lanes(_mm512_and_si512(v, _mm512_set1_epi32(0xffff))),
                                     Lanes512::f16_in_lanes(_mm512_srli_epi32(v, 16)));
      Lanes512::store(room + 32 * k, line);
    }
    return room;
  }
  for (int64_t k = 0; k < columns; k += 4, p += 64) {
    const __m512i v = Lanes512::load(p);
    Lanes512::store(room + 32 * k, pair_line(from_e4m3<Lanes512>(v), from_e4m3<Lanes512>(_mm512_srli_epi32(v, 8))));
    Lanes512::store(room + 32 * k + 64, pair_line(from_e4m3<Lanes512>(_mm512_srli_epi32(v, 16)),
                                                  from_e4m3<Lanes512>(_mm512_srli_epi32(v, 24))));
  }
  return room;
}

NBL_INLINE __mmask16 tile_mask(const MatmulBf16Args& a, int64_t tile) {
  const int64_t left = a.n - tile * kRows;
  return static_cast<__mmask16>(left >= kRows ? 0xffff : (1 << left) - 1);
}

// The finished sums of activation rows [i0, i1) into y.
template <int NT>
NBL_INLINE void add_bf16_sums(const MatmulBf16Args& a, int64_t tile, int64_t i0, int64_t i1, const float* sums) {
  for (int64_t i = i0; i < i1; ++i)
    for (int t = 0; t < NT; ++t, sums += kRows) {
      const __mmask16 mask = tile_mask(a, tile + t);
      float* out = a.y + i * a.ldy + (tile + t) * kRows;
      __m512 first = _mm512_setzero_ps();
      if (a.accumulate)
        first = _mm512_maskz_loadu_ps(mask, out);
      else if (a.bias != nullptr)
        first = _mm512_maskz_loadu_ps(mask, a.bias + (tile + t) * kRows);
      _mm512_mask_storeu_ps(out, mask, _mm512_add_ps(first, _mm512_loadu_ps(sums)));
    }
}

// All of `args` by a Block: block.template columns<NT>(panels, k0, columns, i0, i1, first, sums).
template <class Block>
NBL_INLINE void matmul_bf16_body(const MatmulBf16Args& a, const Block& block) {
  alignas(64) uint8_t room[2][kBf16Columns * 32];
  alignas(64) float sums[kBf16Rows * 2 * kRows];
  const int64_t columns = (a.w.k_count + 31) / 32 * 32;
  const int64_t blocks = (a.m + kBf16Rows - 1) / kBf16Rows;
  const int64_t units = (a.m + 31) / 32;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t i0 = units * b / blocks * 32;
    const int64_t i1 = b + 1 == blocks ? a.m : units * (b + 1) / blocks * 32;
    for (int64_t tile = a.tile_begin; tile < a.tile_end; tile += 2) {
      const bool two = tile + 2 <= a.tile_end;
      for (int64_t k0 = 0; k0 < columns; k0 += kBf16Columns) {
        const int64_t count = columns - k0 < kBf16Columns ? columns - k0 : kBf16Columns;
        const uint8_t* panel[2] = {bf16_panel(a.w, tile, k0, count, room[0]), nullptr};
        if (two) {
          panel[1] = bf16_panel(a.w, tile + 1, k0, count, room[1]);
          block.template columns<2>(a, panel, k0, count, i0, i1, sums);
        } else {
          block.template columns<1>(a, panel, k0, count, i0, i1, sums);
        }
      }
      if (two)
        add_bf16_sums<2>(a, tile, i0, i1, sums);
      else
        add_bf16_sums<1>(a, tile, i0, i1, sums);
    }
  }
}
