// The generic body of qmatmul_int8, for any lanes T. Included inside an anonymous namespace after the lanes and
// unpack.inl.

// What one weight group contributes besides its codes.
template <class T>
struct GroupLanes {
  typename T::F scale;
  typename T::F zero;  // taken off the integer sum, times sum X; includes the 128 that signed lanes subtract from codes
  typename T::F shift;  // times d * sum X; minimum and real zeros only
};

// Operands of wide codes are codes - 128 where the dot product is signed.
template <class T, class Codes>
constexpr float kCodeOffset = Codes::kWide&& T::kSignedWide ? 128.0f : 0.0f;

template <class T, class Codes, bool CODEBOOK>
NBL_INLINE GroupLanes<T> load_group(const SegmentView& w, int64_t group) {
  GroupLanes<T> g;
  g.scale = load_numbers<T>(w.scale_type, w.scales + group * 16 * number_bytes(w.scale_type));
  g.shift = T::zero_f();
  if constexpr (CODEBOOK) {
    g.scale = T::mul_f(g.scale, T::set1_f(w.table_step));
    g.zero = T::set1_f(128.0f - kCodeOffset<T, Codes>);
    return g;
  } else {
    const uint8_t* zeros = w.zeros + group * w.zero_group_bytes();
    g.zero = T::set1_f(-kCodeOffset<T, Codes>);
    switch (w.zero) {
      case ZeroPoint::symmetric:
        g.zero = T::set1_f(static_cast<float>(1 << (Codes::kBits - 1)) - kCodeOffset<T, Codes>);
        break;
      case ZeroPoint::code:
        g.zero = T::add_f(T::to_f(load_zero_codes<T, Codes::kBits>(zeros)), g.zero);
        break;
      case ZeroPoint::minimum:
        g.shift = load_numbers<T>(w.zero_type, zeros);
        break;
      default:
        g.shift = T::sub_f(T::zero_f(), T::mul_f(g.scale, load_numbers<T>(w.zero_type, zeros)));
    }
    return g;
  }
}

template <class T, class Codes>
NBL_INLINE typename T::I dot(typename T::I acc, typename T::I w, typename T::I x) {
  if constexpr (Codes::kWide)
    return T::dot_wide(acc, w, x);
  else
    return T::dot_narrow(acc, w, x);
}

// Codes as dot() wants them.
template <class T, class Codes, int C, int Q>
NBL_INLINE typename T::I operand(const Codes& codes, const uint8_t* tile) {
  const typename T::I w = codes.template get<C, Q>(tile);
  if constexpr (Codes::kBits == 8 && T::kSignedWide)
    return T::bxor(w, T::set1(static_cast<int32_t>(0x80808080u)));
  else
    return w;
}

// Folds the integer sums of one step into the float accumulator.
template <class T>
NBL_INLINE typename T::F fold(const GroupLanes<T>& g, bool shifted, typename T::I sum, float d, float xsum, float dsum,
                              typename T::F acc) {
  const typename T::F t = T::fnma(g.zero, T::set1_f(xsum), T::to_f(sum));
  acc = T::fma(t, T::mul_f(g.scale, T::set1_f(d)), acc);
  if (shifted) acc = T::fma(g.shift, T::set1_f(dsum), acc);
  return acc;
}

// y's 16 floats of one row tile, or fewer at the last.
template <class T>
NBL_INLINE typename T::F load_rows(const float* y, int rows) {
  if (rows == kRows) return T::load_f(y);
  float part[kRows] = {};
  for (int r = 0; r < rows; ++r) part[r] = y[r];
  return T::load_f(part);
}
template <class T>
NBL_INLINE void store_rows(float* y, int rows, typename T::F v) {
  if (rows == kRows) {
    T::store_f(y, v);
    return;
  }
  float part[kRows];
  T::store_f(part, v);
  for (int r = 0; r < rows; ++r) y[r] = part[r];
}

template <class T>
NBL_INLINE typename T::F first_value(const QmatmulInt8Args& a, int64_t row, int rows, int64_t i) {
  if (a.accumulate) return load_rows<T>(a.y + i * a.ldy + row, rows);
  return a.bias != nullptr ? load_rows<T>(a.bias + row, rows) : T::zero_f();
}

NBL_INLINE int rows_of_tile(const QmatmulInt8Args& a, int64_t tile) {
  const int64_t left = a.n - tile * kRows;
  return static_cast<int>(left < kRows ? left : kRows);
}

// ---- Few activation rows: codes are unpacked from the tiles straight into dot products.
// NT row tiles x MR activation rows, ACC integer accumulators each: 4 (one a 16-column chunk of a tile) when a step may
// be shorter than a tile.

template <class T, class Codes, int NT, int MR, int ACC, int C, int Q>
NBL_INLINE void dot_quad(const Codes& codes, const uint8_t* const (&tile)[NT], const int8_t* const (&x)[MR],
                         typename T::I (&acc)[NT][MR][ACC]) {
  typename T::I xb[MR];
  for (int i = 0; i < MR; ++i) xb[i] = T::quad(x[i] + 16 * C + 4 * Q);
  for (int t = 0; t < NT; ++t) {
    const typename T::I w = operand<T, Codes, C, Q>(codes, tile[t]);
    for (int i = 0; i < MR; ++i) acc[t][i][C % ACC] = dot<T, Codes>(acc[t][i][C % ACC], w, xb[i]);
  }
}

template <class T, class Codes, int NT, int MR, int ACC>
NBL_INLINE void dot_tile(const Codes& codes, const uint8_t* const (&tile)[NT], const int8_t* const (&x)[MR],
                         typename T::I (&acc)[NT][MR][ACC]) {
  // Chunks that share lines next to each other.
  dot_quad<T, Codes, NT, MR, ACC, 0, 0>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 2, 0>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 1, 0>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 3, 0>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 0, 1>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 2, 1>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 1, 1>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 3, 1>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 0, 2>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 2, 2>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 1, 2>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 3, 2>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 0, 3>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 2, 3>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 1, 3>(codes, tile, x, acc);
  dot_quad<T, Codes, NT, MR, ACC, 3, 3>(codes, tile, x, acc);
}

template <class T, class Codes, bool CODEBOOK, int NT, int MR, bool SHORT>
NBL_NOINLINE void few_rows(const QmatmulInt8Args& a, int64_t tile, int64_t i0) {
  using F = typename T::F;
  using I = typename T::I;
  constexpr int ACC = SHORT ? 4 : (NT * MR <= 2 ? 2 : 1);
  const SegmentView& w = a.w;
  const Codes codes(w);
  const int64_t tile_bytes = w.tile_code_bytes();
  const bool shifted = !CODEBOOK && (w.zero == ZeroPoint::minimum || w.zero == ZeroPoint::real);

  const uint8_t* p[NT];
  int rows[NT];
  F y[NT][MR];
  int64_t row_i[MR];  // activation rows beyond the last repeat it and are not stored
  for (int i = 0; i < MR; ++i) row_i[i] = i0 + i < a.m ? i0 + i : a.m - 1;
  for (int t = 0; t < NT; ++t) {
    p[t] = w.codes + (tile + t) * w.column_tiles * tile_bytes;
    rows[t] = rows_of_tile(a, tile + t);
    for (int i = 0; i < MR; ++i) y[t][i] = first_value<T>(a, (tile + t) * kRows, rows[t], row_i[i]);
  }
  I acc[NT][MR][ACC];
  const auto clear = [&]() NBL_INLINE_LAMBDA {
    for (int t = 0; t < NT; ++t)
      for (int i = 0; i < MR; ++i)
        for (int c = 0; c < ACC; ++c) acc[t][i][c] = T::zero();
  };
  // The step that begins at column k: fold what `sum(t, i)` gives.
  const auto fold_step = [&](int64_t k, const auto& sum) NBL_INLINE_LAMBDA {
    const int64_t at = k / a.step * a.m;
    const int64_t group = w.groups == 1 ? 0 : k / w.group_size;
    for (int t = 0; t < NT; ++t) {
      const GroupLanes<T> g = load_group<T, Codes, CODEBOOK>(w, (tile + t) * w.groups + group);
      for (int i = 0; i < MR; ++i) {
        const int64_t j = at + row_i[i];
        y[t][i] = fold<T>(g, shifted, sum(t, i), a.d[j], a.sums[j], a.dsums[j], y[t][i]);
      }
    }
  };
  clear();
  int64_t step_begin = 0;
  for (int64_t kt = 0; kt < w.column_tiles; ++kt) {
    const int8_t* x[MR];
    for (int i = 0; i < MR; ++i) x[i] = a.x + (kt * a.m + row_i[i]) * kCols;
    for (int t = 0; t < NT; ++t)
      for (int64_t b = 0; b < 128 * Codes::kBits; b += 64) __builtin_prefetch(p[t] + 4096 + b);
    dot_tile<T, Codes, NT, MR, ACC>(codes, p, x, acc);
    for (int t = 0; t < NT; ++t) p[t] += 128 * Codes::kBits;
    const int64_t k = kt * kCols;
    if constexpr (SHORT) {
      for (int c = 0; c < 4 && k + 16 * c < w.k_count; c += static_cast<int>(a.step / 16)) {
        if (a.step == 16)
          fold_step(k + 16 * c, [&](int t, int i) NBL_INLINE_LAMBDA { return acc[t][i][c]; });
        else
          fold_step(k + 16 * c, [&](int t, int i) NBL_INLINE_LAMBDA { return T::add(acc[t][i][c], acc[t][i][c + 1]); });
      }
      clear();
    } else if (k + kCols - step_begin == a.step || kt + 1 == w.column_tiles) {
      fold_step(step_begin, [&](int t, int i) NBL_INLINE_LAMBDA {
        return ACC == 2 ? T::add(acc[t][i][0], acc[t][i][ACC - 1]) : acc[t][i][0];
      });
      clear();
      step_begin = k + kCols;
    }
  }
  for (int t = 0; t < NT; ++t)
    for (int i = 0; i < MR && i0 + i < a.m; ++i)
      store_rows<T>(a.y + (i0 + i) * a.ldy + (tile + t) * kRows, rows[t], y[t][i]);
}

// ---- Many activation rows: a panel of NT row tiles is unpacked to bytes once, then multiplied in register blocks.

inline constexpr int64_t kPanelColumns = 1024;

template <class T, class Codes, int Q0>
NBL_INLINE void unpack_lines(const Codes& codes, const uint8_t* tile, uint8_t* out) {
  T::store(out + 64 * Q0, operand<T, Codes, 0, Q0>(codes, tile));
  T::store(out + 64 * (8 + Q0), operand<T, Codes, 2, Q0>(codes, tile));
  T::store(out + 64 * (4 + Q0), operand<T, Codes, 1, Q0>(codes, tile));
  T::store(out + 64 * (12 + Q0), operand<T, Codes, 3, Q0>(codes, tile));
}

// Column tiles of one row tile as 16 lines of bytes each.
template <class T, class Codes>
NBL_NOINLINE void unpack_panel(const SegmentView& w, int64_t tile, int64_t kt, int64_t count, uint8_t* out) {
  const Codes codes(w);
  const uint8_t* p = w.codes + (tile * w.column_tiles + kt) * (128 * Codes::kBits);
  for (int64_t c = 0; c < count; ++c, p += 128 * Codes::kBits, out += 1024) {
    unpack_lines<T, Codes, 0>(codes, p, out);
    unpack_lines<T, Codes, 1>(codes, p, out);
    unpack_lines<T, Codes, 2>(codes, p, out);
    unpack_lines<T, Codes, 3>(codes, p, out);
  }
}

template <class T, class Codes, bool CODEBOOK, int NT, int MR>
NBL_NOINLINE void panel_block(const QmatmulInt8Args& a, const uint8_t* const* panel, int64_t tile, int64_t kt0,
                              int64_t count, int64_t i0, const int* rows, const GroupLanes<T>* groups) {
  using F = typename T::F;
  using I = typename T::I;
  const SegmentView& w = a.w;
  const bool shifted = !CODEBOOK && (w.zero == ZeroPoint::minimum || w.zero == ZeroPoint::real);
  F y[NT][MR];
  for (int t = 0; t < NT; ++t)
    for (int i = 0; i < MR; ++i) {
      if (kt0 == 0)
        y[t][i] = first_value<T>(a, (tile + t) * kRows, rows[t], i0 + i);
      else
        y[t][i] = load_rows<T>(a.y + (i0 + i) * a.ldy + (tile + t) * kRows, rows[t]);
    }
  const int64_t lines_per_step = a.step / 4;
  const int64_t lines = 16 * count;
  int64_t step = kt0 * kCols / a.step;
  for (int64_t line0 = 0; line0 < lines; line0 += lines_per_step, ++step) {
    if (kt0 * kCols + line0 * 4 >= w.k_count) break;
    const int64_t line1 = line0 + lines_per_step < lines ? line0 + lines_per_step : lines;
    I acc[NT][MR];
    for (int t = 0; t < NT; ++t)
      for (int i = 0; i < MR; ++i) acc[t][i] = T::zero();
    for (int64_t line = line0; line < line1;) {
      const int8_t* x = a.x + ((kt0 + line / 16) * a.m + i0) * kCols + line % 16 * 4;
      const int64_t part = line1 - line < 16 - line % 16 ? line1 - line : 16 - line % 16;
      for (const int64_t stop = line + part; line < stop; ++line, x += 4) {
        I wl[NT];
        for (int t = 0; t < NT; ++t) wl[t] = T::load(panel[t] + 64 * line);
        for (int i = 0; i < MR; ++i) {
          const I xb = T::quad(x + i * kCols);
          for (int t = 0; t < NT; ++t) acc[t][i] = dot<T, Codes>(acc[t][i], wl[t], xb);
        }
      }
    }
    const int64_t at = step * a.m + i0;
    for (int t = 0; t < NT; ++t) {
      const GroupLanes<T>& g = groups[(step - kt0 * kCols / a.step) * NT + t];
      for (int i = 0; i < MR; ++i)
        y[t][i] = fold<T>(g, shifted, acc[t][i], a.d[at + i], a.sums[at + i], a.dsums[at + i], y[t][i]);
    }
  }
  for (int t = 0; t < NT; ++t)
    for (int i = 0; i < MR; ++i) store_rows<T>(a.y + (i0 + i) * a.ldy + (tile + t) * kRows, rows[t], y[t][i]);
}

template <class T, class Codes, bool CODEBOOK, int NT>
NBL_INLINE void many_rows(const QmatmulInt8Args& a, int64_t tile) {
  constexpr int MR = T::kRegisters == 32 ? 24 / NT : 4;
  alignas(64) uint8_t scratch[NT][16 * kPanelColumns];
  GroupLanes<T> groups[NT * kPanelColumns / 16];
  const SegmentView& w = a.w;
  const uint8_t* panel[NT];
  int rows[NT];
  for (int t = 0; t < NT; ++t) {
    panel[t] = scratch[t];
    rows[t] = rows_of_tile(a, tile + t);
  }
  for (int64_t kt = 0; kt < w.column_tiles; kt += kPanelColumns / kCols) {
    const int64_t left = w.column_tiles - kt;
    const int64_t count = left < kPanelColumns / kCols ? left : kPanelColumns / kCols;
    for (int t = 0; t < NT; ++t) unpack_panel<T, Codes>(w, tile + t, kt, count, scratch[t]);
    int64_t s = 0;
    for (int64_t k = kt * kCols; k < (kt + count) * kCols && k < w.k_count; k += a.step, ++s)
      for (int t = 0; t < NT; ++t)
        groups[s * NT + t] =
            load_group<T, Codes, CODEBOOK>(w, (tile + t) * w.groups + (w.groups == 1 ? 0 : k / w.group_size));
    int64_t i = 0;
    for (; i + MR <= a.m; i += MR) panel_block<T, Codes, CODEBOOK, NT, MR>(a, panel, tile, kt, count, i, rows, groups);
    if (MR > 4)
      for (; i + 4 <= a.m; i += 4) panel_block<T, Codes, CODEBOOK, NT, 4>(a, panel, tile, kt, count, i, rows, groups);
    for (; i < a.m; ++i) panel_block<T, Codes, CODEBOOK, NT, 1>(a, panel, tile, kt, count, i, rows, groups);
  }
}

template <class T, class Codes, bool CODEBOOK, int NT, bool SHORT>
NBL_INLINE void few_rows_tiles(const QmatmulInt8Args& a, int64_t tile) {
  if (a.m == 1) return few_rows<T, Codes, CODEBOOK, NT, 1, SHORT>(a, tile, 0);
  if (a.m == 2) return few_rows<T, Codes, CODEBOOK, NT, 2, SHORT>(a, tile, 0);
  for (int64_t i = 0; i < a.m; i += 4) few_rows<T, Codes, CODEBOOK, NT, 4, SHORT>(a, tile, i);
}

template <class T, class Codes, bool CODEBOOK>
NBL_INLINE void run_codes(const QmatmulInt8Args& a) {
  int64_t tile = a.tile_begin;
  constexpr int64_t kManyRows = 9;
  if (a.m >= kManyRows) {
    constexpr int NT = T::kRegisters == 32 ? 2 : 1;
    for (; tile + NT <= a.tile_end; tile += NT) many_rows<T, Codes, CODEBOOK, NT>(a, tile);
    for (; tile < a.tile_end; ++tile) many_rows<T, Codes, CODEBOOK, 1>(a, tile);
    return;
  }
  if (a.step < kCols) {
    for (; tile < a.tile_end; ++tile) few_rows_tiles<T, Codes, CODEBOOK, 1, true>(a, tile);
    return;
  }
  constexpr int NT = T::kRegisters == 32 ? 2 : 1;
  for (; tile + NT <= a.tile_end; tile += NT) few_rows_tiles<T, Codes, CODEBOOK, NT, false>(a, tile);
  for (; tile < a.tile_end; ++tile) few_rows_tiles<T, Codes, CODEBOOK, 1, false>(a, tile);
}

template <class T>
NBL_INLINE void qmatmul_int8_body(const QmatmulInt8Args& a) {
  if (a.w.kind == WeightKind::codebook) return run_codes<T, CodebookBytes<T>, true>(a);
  switch (a.w.bits) {
    case 1:
      return run_codes<T, AffineCodes<T, 1>, false>(a);
    case 2:
      return run_codes<T, AffineCodes<T, 2>, false>(a);
    case 3:
      return run_codes<T, AffineCodes<T, 3>, false>(a);
    case 4:
      return run_codes<T, AffineCodes<T, 4>, false>(a);
    case 5:
      return run_codes<T, AffineCodes<T, 5>, false>(a);
    case 6:
      return run_codes<T, AffineCodes<T, 6>, false>(a);
    case 7:
      return run_codes<T, AffineCodes<T, 7>, false>(a);
    default:
      return run_codes<T, AffineCodes<T, 8>, false>(a);
  }
}
