// The generic body of qmatmul_exact, for any lanes T. Included inside an anonymous namespace after the lanes and
// unpack.inl.

// ---- Panels: one row tile x up to 256 columns as float32 [column][16].

struct PanelSource {
  const SegmentView* w;
  int64_t tile;
  int64_t k0;       // first column, a multiple of 64
  int64_t columns;  // a multiple of 16, at most 256
};

// Codes of 4 columns in `line`, byte j of each lane = column j; `value` turns lanes of codes into weights.
template <class T, class Value>
NBL_INLINE void store_quad(typename T::I line, float* out, const Value& value) {
  const typename T::I low = T::set1(0xff);
  T::store_f(out, value(T::band(line, low)));
  T::store_f(out + 16, value(T::band(T::template shift_right<8>(line), low)));
  T::store_f(out + 32, value(T::band(T::template shift_right<16>(line), low)));
  T::store_f(out + 48, value(T::template shift_right<24>(line)));
}

template <class T, class Codes, int C, class Value>
NBL_INLINE void store_chunk(const Codes& codes, const uint8_t* tile, float* out, const Value& value) {
  const auto open = codes.open(tile);
  store_quad<T>(open.template get<C, 0>(), out, value);
  store_quad<T>(open.template get<C, 1>(), out + 64, value);
  store_quad<T>(open.template get<C, 2>(), out + 128, value);
  store_quad<T>(open.template get<C, 3>(), out + 192, value);
}

// Calls per_chunk(chunk of 16 columns within its tile, tile's codes, group, out) for the panel's chunks in order.
template <class PerChunk>
NBL_INLINE void for_chunks(const PanelSource& s, float* out, const PerChunk& per_chunk) {
  const SegmentView& w = *s.w;
  const int64_t bytes = w.tile_code_bytes();
  const uint8_t* tile = w.codes + (s.tile * w.column_tiles + s.k0 / kCols) * bytes;
  int64_t group = s.k0 / w.group_size;
  int64_t left = w.group_size - s.k0 % w.group_size;  // columns of the group still to come
  for (int64_t k = 0; k < s.columns; k += 16) {
    if (left == 0) {
      ++group;
      left = w.group_size;
    }
    left -= 16;
    if (k % kCols == 0) __builtin_prefetch(tile + 4096);
    per_chunk(static_cast<int>(k % kCols / 16), tile, s.tile * w.groups + group, out + 16 * k);
    if (k % kCols == 48) tile += bytes;
  }
}

template <class T, class Codes, class Value>
NBL_INLINE void store_any_chunk(const Codes& codes, int chunk, const uint8_t* tile, float* out, const Value& value) {
  switch (chunk) {
    case 0:
      return store_chunk<T, Codes, 0>(codes, tile, out, value);
    case 1:
      return store_chunk<T, Codes, 1>(codes, tile, out, value);
    case 2:
      return store_chunk<T, Codes, 2>(codes, tile, out, value);
    default:
      return store_chunk<T, Codes, 3>(codes, tile, out, value);
  }
}

template <class T, int BITS>
NBL_NOINLINE void affine_panel(const PanelSource& s, float* out) {
  using F = typename T::F;
  const SegmentView& w = *s.w;
  const AffineCodes<T, BITS> codes(w);
  const int64_t zero_bytes = w.zero_group_bytes();
  if (w.zero == ZeroPoint::minimum) {
    for_chunks(s, out, [&](int chunk, const uint8_t* tile, int64_t group, float* o) {
      const F scale = load_scales<T>(w, group);
      const F minimum = load_real_zeros<T>(w, group);
      store_any_chunk<T>(codes, chunk, tile, o, [&](typename T::I q) NBL_INLINE_LAMBDA {
        return T::add_f(T::mul_f(scale, T::to_f(q)), minimum);
      });
    });
    return;
  }
  for_chunks(s, out, [&](int chunk, const uint8_t* tile, int64_t group, float* o) {
    const F scale = load_scales<T>(w, group);
    F zero = T::set1_f(static_cast<float>(1 << (BITS - 1)));
    if (w.zero == ZeroPoint::code)
      zero = T::to_f(load_zero_codes<T, BITS>(w.zeros + group * zero_bytes));
    else if (w.zero == ZeroPoint::real)
      zero = load_real_zeros<T>(w, group);
    store_any_chunk<T>(codes, chunk, tile, o,
                       [&](typename T::I q) NBL_INLINE_LAMBDA { return T::mul_f(scale, T::sub_f(T::to_f(q), zero)); });
  });
}

// What codes below 16 mean.
template <class T>
struct Values16 {
  typename T::TableF table;
  explicit NBL_INLINE Values16(const SegmentView& w) : table(T::table_f(w.table)) {}
  NBL_INLINE typename T::F of(typename T::I q) const { return T::lookup_f(table, q); }
};
// What codes below 32 mean: the lower half is the negative of the upper's mirror image.
template <class T>
struct Values32 {
  typename T::TableF low, high;
  explicit NBL_INLINE Values32(const SegmentView& w) : high(T::table_f(w.table)) {
    float mirrored[16];
    for (int i = 0; i < 16; ++i) mirrored[i] = -w.table[15 - i];
    low = T::table_f(mirrored);
  }
  NBL_INLINE typename T::F of(typename T::I q) const {
    const typename T::I index = T::band(q, T::set1(15));
    return T::where_ne(T::band(q, T::set1(16)), T::zero(), T::lookup_f(high, index), T::lookup_f(low, index));
  }
};

template <class T, class Codes, class Values>
NBL_NOINLINE void codebook_panel(const PanelSource& s, float* out) {
  using F = typename T::F;
  const SegmentView& w = *s.w;
  const Codes codes(w);
  const Values values(w);
  for_chunks(s, out, [&](int chunk, const uint8_t* tile, int64_t group, float* o) {
    const F scale = load_scales<T>(w, group);
    store_any_chunk<T>(codes, chunk, tile, o, [&](typename T::I q) NBL_INLINE_LAMBDA { return T::mul_f(scale, values.of(q)); });
  });
}

// Dense elements narrower than 4 bytes: lines of 16 rows x (4 / size) columns.
template <class T>
NBL_NOINLINE void dense_panel(const PanelSource& s, float* out) {
  const SegmentView& w = *s.w;
  const uint8_t* p = w.codes + s.tile * w.column_tiles * w.tile_code_bytes() + s.k0 * 16 * number_bytes(w.value_type);
  using I = typename T::I;
  switch (w.value_type) {
    case Number::bf16: {
      const I high = T::set1(static_cast<int32_t>(0xffff0000u));
      for (int64_t k = 0; k < s.columns; k += 2, p += 64, out += 32) {
        __builtin_prefetch(p + 4096);
        const I v = T::load(p);
        T::store_f(out, T::as_f(T::template shift_right<-16>(v)));
        T::store_f(out + 16, T::as_f(T::band(v, high)));
      }
      return;
    }
    case Number::f16: {
      const I low = T::set1(0xffff);
      for (int64_t k = 0; k < s.columns; k += 2, p += 64, out += 32) {
        __builtin_prefetch(p + 4096);
        const I v = T::load(p);
        T::store_f(out, T::f16_in_lanes(T::band(v, low)));
        T::store_f(out + 16, T::f16_in_lanes(T::template shift_right<16>(v)));
      }
      return;
    }
    default:
      for (int64_t k = 0; k < s.columns; k += 4, p += 64, out += 64) {
        __builtin_prefetch(p + 4096);
        const I v = T::load(p);
        T::store_f(out, from_e4m3<T>(v));
        T::store_f(out + 16, from_e4m3<T>(T::template shift_right<8>(v)));
        T::store_f(out + 32, from_e4m3<T>(T::template shift_right<16>(v)));
        T::store_f(out + 48, from_e4m3<T>(T::template shift_right<24>(v)));
      }
  }
}

using PanelFn = void (*)(const PanelSource&, float*);

template <class T>
NBL_INLINE PanelFn panel_function(const SegmentView& w) {
  if (w.kind == WeightKind::dense) return w.value_type == Number::f32 ? nullptr : dense_panel<T>;
  if (w.kind == WeightKind::codebook) return codebook_panel<T, AffineCodes<T, 4>, Values16<T>>;
  if (w.kind == WeightKind::trellis) {
    switch (w.bits) {
      case 1:
        return codebook_panel<T, TrellisCodes<T, 1>, Values16<T>>;
      case 2:
        return codebook_panel<T, TrellisCodes<T, 2>, Values16<T>>;
      case 3:
        return codebook_panel<T, TrellisCodes<T, 3>, Values16<T>>;
      default:
        return codebook_panel<T, TrellisCodes<T, 4>, Values32<T>>;
    }
  }
  switch (w.bits) {
    case 1:
      return affine_panel<T, 1>;
    case 2:
      return affine_panel<T, 2>;
    case 3:
      return affine_panel<T, 3>;
    case 4:
      return affine_panel<T, 4>;
    case 5:
      return affine_panel<T, 5>;
    case 6:
      return affine_panel<T, 6>;
    case 7:
      return affine_panel<T, 7>;
    default:
      return affine_panel<T, 8>;
  }
}

// ---- The register block: MR activation rows x NT row tiles over one panel.

// One of the four accumulators of each element: columns `first`, first + 4, ... Kept apart so that the accumulators
// have the registers to themselves. out [MR][NT][16].
template <class T, int MR, int NT>
NBL_NOINLINE void one_chain(const float* const* panel, int64_t first, int64_t columns, const float* x, int64_t ldx,
                            float* out) {
  using F = typename T::F;
  F acc[MR][NT];
  NBL_EACH (i, MR)
    NBL_EACH (t, NT) acc[i][t] = T::zero_f();
  for (int64_t k = first; k < columns; k += 4) {
    F w[NT];
    NBL_EACH (t, NT) w[t] = T::load_f(panel[t] + 16 * k);
    NBL_EACH (i, MR) {
      const F xb = T::set1_f(x[i * ldx + k]);
      NBL_EACH (t, NT) acc[i][t] = T::fma(w[t], xb, acc[i][t]);
    }
  }
  NBL_EACH (i, MR)
    NBL_EACH (t, NT) T::store_f(out + (i * NT + t) * kRows, acc[i][t]);
}

// All four accumulators at once: for few chains.
template <class T, int MR, int NT>
NBL_NOINLINE void four_chains(const float* const* panel, int64_t columns, const float* x, int64_t ldx, float* out) {
  using F = typename T::F;
  F acc[MR][NT][4];
  NBL_EACH (i, MR)
    NBL_EACH (t, NT)
      NBL_EACH (j, 4) acc[i][t][j] = T::zero_f();
  for (int64_t k = 0; k < columns; k += 4)
    NBL_EACH (j, 4)
      NBL_EACH (i, MR) {
        const F xb = T::set1_f(x[i * ldx + k + j]);
        NBL_EACH (t, NT) acc[i][t][j] = T::fma(T::load_f(panel[t] + 16 * (k + j)), xb, acc[i][t][j]);
      }
  NBL_EACH (j, 4)
    NBL_EACH (i, MR)
      NBL_EACH (t, NT) T::store_f(out + ((j * MR + i) * NT + t) * kRows, acc[i][t][j]);
}

// Adds the four accumulators of 16 rows to y, of which `rows` exist.
template <class T>
NBL_INLINE void add_chains(typename T::F a, typename T::F b, typename T::F c, typename T::F d, float* y, int rows) {
  const typename T::F sum = T::add_f(T::add_f(a, b), T::add_f(c, d));
  if (rows == kRows) {
    T::store_f(y, T::add_f(T::load_f(y), sum));
    return;
  }
  float part[kRows];
  T::store_f(part, sum);
  for (int r = 0; r < rows; ++r) y[r] += part[r];
}

template <class T, int MR, int NT>
NBL_NOINLINE void block_rows(const float* const* panel, int64_t columns, const float* x, int64_t ldx, float* y,
                             int64_t ldy, const int* rows) {
  alignas(64) float chain[4][MR * NT * kRows];
  if constexpr (MR * NT <= 2)
    four_chains<T, MR, NT>(panel, columns, x, ldx, chain[0]);
  else
    for (int j = 0; j < 4; ++j) one_chain<T, MR, NT>(panel, j, columns, x, ldx, chain[j]);
  for (int i = 0; i < MR; ++i)
    for (int t = 0; t < NT; ++t) {
      const int64_t at = (i * NT + t) * kRows;
      add_chains<T>(T::load_f(chain[0] + at), T::load_f(chain[1] + at), T::load_f(chain[2] + at), T::load_f(chain[3] + at),
                    y + i * ldy + t * kRows, rows[t]);
    }
}

// One activation row against dense 16-bit elements: straight from the tiles, the sums in the order that a panel has.
template <class T, int NT, Number TYPE>
NBL_NOINLINE void dense_row(const SegmentView& w, int64_t tile, int64_t k0, int64_t columns, const float* x, float* y,
                            const int* rows) {
  using F = typename T::F;
  using I = typename T::I;
  const auto even = [](I line) NBL_INLINE_LAMBDA {
    return TYPE == Number::bf16 ? T::as_f(T::template shift_right<-16>(line))
                                : T::f16_in_lanes(T::band(line, T::set1(0xffff)));
  };
  const auto odd = [](I line) NBL_INLINE_LAMBDA {
    return TYPE == Number::bf16 ? T::as_f(T::band(line, T::set1(static_cast<int32_t>(0xffff0000u))))
                                : T::f16_in_lanes(T::template shift_right<16>(line));
  };
  F acc[NT][4];
  const uint8_t* p[NT];
  NBL_EACH (t, NT) {
    NBL_EACH (j, 4) acc[t][j] = T::zero_f();
    p[t] = w.codes + ((tile + t) * w.column_tiles * kCols + k0) * kRows * 2;
  }
  for (int64_t k = 0; k < columns; k += 4) {
    F xb[4];
    NBL_EACH (j, 4) xb[j] = T::set1_f(x[k + j]);
    NBL_EACH (t, NT) {
      __builtin_prefetch(p[t] + 4096);
      __builtin_prefetch(p[t] + 4096 + 64);
      const I first = T::load(p[t]), second = T::load(p[t] + 64);
      acc[t][0] = T::fma(even(first), xb[0], acc[t][0]);
      acc[t][1] = T::fma(odd(first), xb[1], acc[t][1]);
      acc[t][2] = T::fma(even(second), xb[2], acc[t][2]);
      acc[t][3] = T::fma(odd(second), xb[3], acc[t][3]);
      p[t] += 128;
    }
  }
  NBL_EACH (t, NT) add_chains<T>(acc[t][0], acc[t][1], acc[t][2], acc[t][3], y + t * kRows, rows[t]);
}

// Whether dense_row() did this block.
template <class T, int NT>
NBL_INLINE bool dense_row_block(const QmatmulExactArgs& a, int64_t tile, int64_t k0, int64_t columns, const int* rows) {
  if (a.m != 1 || a.w.kind != WeightKind::dense) return false;
  if (a.w.value_type == Number::bf16)
    dense_row<T, NT, Number::bf16>(a.w, tile, k0, columns, a.x + k0, a.y + tile * kRows, rows);
  else if (a.w.value_type == Number::f16)
    dense_row<T, NT, Number::f16>(a.w, tile, k0, columns, a.x + k0, a.y + tile * kRows, rows);
  else
    return false;
  return true;
}

template <class T, int NT>
NBL_INLINE void all_rows(const QmatmulExactArgs& a, const float* const* panel, int64_t k0, int64_t columns,
                         int64_t tile, const int* rows) {
  constexpr int kMost = (T::kRegisters - 4) / (NT * 32 / T::kRegisters);  // AVX-512: 14 or 28 accumulators, AVX2: 6
  constexpr int MR = kMost >= 14 ? 12 : 6;
  const float* x = a.x + k0;
  float* y = a.y + tile * kRows;
  int64_t i = 0;
  for (; i + MR <= a.m; i += MR)
    block_rows<T, MR, NT>(panel, columns, x + i * a.ldx, a.ldx, y + i * a.ldy, a.ldy, rows);
  if (MR > 8 && i + 8 <= a.m) {
    block_rows<T, 8, NT>(panel, columns, x + i * a.ldx, a.ldx, y + i * a.ldy, a.ldy, rows);
    i += 8;
  }
  if (i + 4 <= a.m) {
    block_rows<T, 4, NT>(panel, columns, x + i * a.ldx, a.ldx, y + i * a.ldy, a.ldy, rows);
    i += 4;
  }
  if (i + 2 <= a.m) {
    block_rows<T, 2, NT>(panel, columns, x + i * a.ldx, a.ldx, y + i * a.ldy, a.ldy, rows);
    i += 2;
  }
  if (i < a.m) block_rows<T, 1, NT>(panel, columns, x + i * a.ldx, a.ldx, y + i * a.ldy, a.ldy, rows);
}

template <class T>
NBL_INLINE void qmatmul_exact_body(const QmatmulExactArgs& a) {
  constexpr int NT = T::kRegisters == 32 ? 2 : 1;
  alignas(64) float scratch[NT][kExactBlock * kRows];
  const int64_t columns = (a.w.k_count + 15) / 16 * 16;
  const PanelFn make_panel = panel_function<T>(a.w);
  for (int64_t tile = a.tile_begin; tile < a.tile_end; tile += NT) {
    const int tiles = a.tile_end - tile < NT ? 1 : NT;
    int rows[2];
    for (int t = 0; t < tiles; ++t) {
      const int64_t left = a.n - (tile + t) * kRows;
      rows[t] = static_cast<int>(left < kRows ? left : kRows);
      if (a.accumulate) continue;
      for (int64_t i = 0; i < a.m; ++i)
        for (int64_t r = 0; r < rows[t]; ++r) {
          const int64_t row = (tile + t) * kRows + r;
          a.y[i * a.ldy + row] = a.bias != nullptr ? a.bias[row] : 0.0f;
        }
    }
    for (int64_t k0 = 0; k0 < columns; k0 += kExactBlock) {
      const int64_t count = columns - k0 < kExactBlock ? columns - k0 : kExactBlock;
      if (tiles == 2 ? dense_row_block<T, NT>(a, tile, k0, count, rows) : dense_row_block<T, 1>(a, tile, k0, count, rows))
        continue;
      const float* panel[2];
      for (int t = 0; t < tiles; ++t) {
        if (make_panel != nullptr) {
          make_panel({&a.w, tile + t, k0, count}, scratch[t]);
          panel[t] = scratch[t];
        } else {  // dense float32 tiles are panels already
          panel[t] = reinterpret_cast<const float*>(a.w.codes) + ((tile + t) * a.w.column_tiles * kCols + k0) * kRows;
        }
      }
      if (tiles == 2)
        all_rows<T, NT>(a, panel, k0, count, tile, rows);
      else
        all_rows<T, 1>(a, panel, k0, count, tile, rows);
    }
  }
}
