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
  g.scale = load_scales<T>(w, group);
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
        g.shift = load_real_zeros<T>(w, group);
        break;
      default:
        g.shift = T::sub_f(T::zero_f(), T::mul_f(g.scale, load_real_zeros<T>(w, group)));
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

// How many lines' pairs of products, of codes below 2^BITS and int8 within 127, fit 16 bits together; 1 where dot() has
// no pairs. A multiplication of the two that a dot product takes is then saved on all but one of them.
template <class T, int BITS>
constexpr int kPairLines = !T::kPairs ? 1 : BITS <= 4 ? 8 : BITS == 5 ? 4 : BITS == 6 ? 2 : 1;

// Codes as dot() wants them.
template <class T, class Codes, int C, int Q>
NBL_INLINE typename T::I operand(const typename Codes::Tile& tile) {
  const typename T::I w = tile.template get<C, Q>();
  if constexpr (Codes::kBits == 8 && T::kSignedWide)
    return T::bxor(w, T::set1(static_cast<int32_t>(0x80808080u)));
  else
    return w;
}

// Folds the integer sums of one step into the float accumulator. ZERO: g.zero may be other than 0.
template <class T, bool ZERO = true>
NBL_INLINE typename T::F fold(const GroupLanes<T>& g, bool shifted, typename T::I sum, float d, float xsum, float dsum,
                              typename T::F acc) {
  typename T::F t = T::to_f(sum);
  if constexpr (ZERO) t = T::fnma(g.zero, T::set1_f(xsum), t);
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
NBL_INLINE typename T::F first_value(const QmatmulInt8Args& a, int64_t row, int rows) {
  return a.bias != nullptr && !a.accumulate ? load_rows<T>(a.bias + row, rows) : T::zero_f();
}
template <class T>
NBL_INLINE void store_sum(const QmatmulInt8Args& a, int64_t row, int rows, int64_t i, typename T::F sum) {
  float* y = a.y + i * a.ldy + row;
  store_rows<T>(y, rows, a.accumulate ? T::add_f(load_rows<T>(y, rows), sum) : sum);
}

NBL_INLINE int rows_of_tile(const QmatmulInt8Args& a, int64_t tile) {
  const int64_t left = a.n - tile * kRows;
  return static_cast<int>(left < kRows ? left : kRows);
}

#include "kernels/qmatmul_int8/qmatmul_int8_few_rows.inl"

// ---- Many activation rows: a panel of NT row tiles is unpacked to bytes once, then multiplied in register blocks.

constexpr int64_t kManyRows = 9;        // from here on panels pay
constexpr int64_t kManyTileRows = 5;    // and matrix tiles
constexpr int64_t kPanelColumns = 512;  // a panel of two row tiles is 16 KB
constexpr int64_t kBlockRows = 256;     // activation rows at a time: their sums are 32 KB
constexpr int64_t kFetchAhead = 16;     // lines of the next panel's codes that a block of activation rows asks for

// Lanes that multiply two rows by two rows want lines in pairs, [row][8 columns].
template <class T>
concept PairLanes = requires { typename T::PairSum; };

template <class T, class Codes, int Q0>
NBL_INLINE void unpack_lines(const typename Codes::Tile& tile, uint8_t* out) {
  T::store(out + 64 * Q0, operand<T, Codes, 0, Q0>(tile));
  T::store(out + 64 * (8 + Q0), operand<T, Codes, 2, Q0>(tile));
  T::store(out + 64 * (4 + Q0), operand<T, Codes, 1, Q0>(tile));
  T::store(out + 64 * (12 + Q0), operand<T, Codes, 3, Q0>(tile));
}

// Column tiles of one row tile as 16 lines of bytes each.
template <class T, class Codes>
NBL_NOINLINE void unpack_panel(const SegmentView& w, int64_t tile, int64_t kt, int64_t count, uint8_t* out) {
  const Codes codes(w);
  const uint8_t* p = w.codes + (tile * w.column_tiles + kt) * Codes::kTileBytes;
  for (int64_t c = 0; c < count; ++c, p += Codes::kTileBytes, out += 1024) {
    const typename Codes::Tile tile_at = codes.open(p);
    unpack_lines<T, Codes, 0>(tile_at, out);
    unpack_lines<T, Codes, 1>(tile_at, out);
    unpack_lines<T, Codes, 2>(tile_at, out);
    unpack_lines<T, Codes, 3>(tile_at, out);
    if constexpr (PairLanes<T>) {
      for (int64_t line = 0; line < 16; line += 2) T::pair_lines(out + 64 * line);
    }
  }
}

// Minimums and real zeros take nothing off the integer sums but what signed lanes subtract from wide codes.
template <class T, bool WIDE, bool SHIFTED>
constexpr bool kPanelZero = !SHIFTED || (WIDE && T::kSignedWide);

// One step of columns of a panel against MR activation rows.
template <class T, int NT>
struct PanelStep {
  const uint8_t* panel;  // first line of the step in the first row tile; others kPanelColumns * kRows on
  int64_t tiles;         // column tiles that the step touches
  int64_t lines;         // lines of each: 16, or fewer when the step is shorter than a tile
  const int8_t* x;       // [column tile][m][64], at the first row and column
  int64_t x_stride;      // bytes from one column tile's to the next's
  const int8_t* x_after;  // the activations that are multiplied next when the step is through
  const GroupLanes<T>* groups;
  const float* d;
  const float* sums;
  const float* dsums;
};

// The integer sums of a step, two activation rows at a time; the last meets itself where their number is odd.
template <class T, int MR>
NBL_INLINE void pair_step(const PanelStep<T, 1>& s, typename T::I (&acc)[1][MR]) {
  constexpr int kPairs = (MR + 1) / 2;
  typename T::PairSum sum[kPairs];
  NBL_EACH (p, kPairs) sum[p] = T::pair_zero();
  const uint8_t* panel = s.panel;
  for (int64_t tile = 0; tile < s.tiles; ++tile) {
    const int8_t* x[2 * kPairs];
    NBL_EACH (i, 2 * kPairs) x[i] = s.x + tile * s.x_stride + (i < MR ? i : MR - 1) * kCols;
    for (int64_t line = 0; line < s.lines; line += 2, panel += 128) {
      T::template pair_dot<kPairs>(sum, panel, x);
      NBL_EACH (i, 2 * kPairs) x[i] += 8;
    }
  }
  NBL_EACH (i, MR) acc[0][i] = i % 2 == 0 ? T::template unpair<0>(sum[i / 2]) : T::template unpair<1>(sum[i / 2]);
}

// y [MR][NT][16]. Kept apart so that the integer accumulators have the registers to themselves. Nothing that the
// step points to overlaps y. LINES: of which pairs may be added before they are widened; ONCE: the step has so many.
template <class T, bool WIDE, int LINES, bool SHIFTED, int NT, int MR, bool ONCE>
NBL_NOINLINE void panel_step(const PanelStep<T, NT>& s, float* __restrict y) {
  using I = typename T::I;
  I acc[NT][MR];
  NBL_EACH (t, NT)
    NBL_EACH (i, MR) acc[t][i] = T::zero();
  const uint8_t* panel = s.panel;
  const int8_t* x_tile = s.x;
  const int64_t lines = s.lines, x_stride = s.x_stride;
  if constexpr (PairLanes<T>) pair_step<T, MR>(s, acc);
  if constexpr (ONCE) {
    NBL_EACH (i, MR) __builtin_prefetch(s.x_after + i * kCols);
    I pairs[NT][MR];
    NBL_EACH (line, LINES) {
      I w[NT];
      NBL_EACH (t, NT) w[t] = T::load(panel + t * kPanelColumns * kRows + 64 * line);
      NBL_EACH (i, MR) {
        const I xb = T::quad(x_tile + i * kCols + 4 * line);
        NBL_EACH (t, NT)
          pairs[t][i] = line == 0 ? T::pair_products(w[t], xb) : T::add_products(pairs[t][i], w[t], xb);
      }
    }
    NBL_EACH (t, NT)
      NBL_EACH (i, MR) acc[t][i] = T::widen(T::zero(), pairs[t][i]);
  }
  for (int64_t tile = 0; !PairLanes<T> && !ONCE && tile < s.tiles; ++tile) {
    const int8_t* x = x_tile;
    x_tile += x_stride;
    // The next column tile's activations come from the second-level cache or from further away.
    const int8_t* next = tile + 1 < s.tiles ? x_tile : s.x_after;
    NBL_EACH (i, MR) __builtin_prefetch(next + i * kCols);
    if constexpr (LINES > 1) {
      for (int64_t line = 0; line < lines; line += LINES) {
        const int64_t count = LINES < lines - line ? LINES : lines - line;
        I pairs[NT][MR];
        const auto add_line = [&](bool first) NBL_INLINE_LAMBDA {
          I w[NT];
          NBL_EACH (t, NT) w[t] = T::load(panel + t * kPanelColumns * kRows);
          NBL_EACH (i, MR) {
            const I xb = T::quad(x + i * kCols);
            NBL_EACH (t, NT)
              pairs[t][i] = first ? T::pair_products(w[t], xb) : T::add_products(pairs[t][i], w[t], xb);
          }
          x += 4, panel += 64;
        };
        add_line(true);
        for (int64_t more = 1; more < count; ++more) add_line(false);
        NBL_EACH (t, NT)
          NBL_EACH (i, MR) acc[t][i] = T::widen(acc[t][i], pairs[t][i]);
      }
      continue;
    }
    for (int64_t line = 0; line < lines; ++line, x += 4, panel += 64) {
      I w[NT];
      NBL_EACH (t, NT) w[t] = T::load(panel + t * kPanelColumns * kRows);
      NBL_EACH (i, MR) {
        const I xb = T::quad(x + i * kCols);
        NBL_EACH (t, NT) acc[t][i] = WIDE ? T::dot_wide(acc[t][i], w[t], xb) : T::dot_narrow(acc[t][i], w[t], xb);
      }
    }
  }
  const float* __restrict d = s.d;
  const float* __restrict sums = s.sums;
  const float* __restrict dsums = s.dsums;
  const GroupLanes<T>* __restrict groups = s.groups;
  GroupLanes<T> g[NT];
  NBL_EACH (t, NT) g[t] = groups[t];
  // Row by row, so that few broadcast numbers live at a time.
  NBL_EACH (i, MR) {
    NBL_EACH (t, NT) {
      float* out = y + (i * NT + t) * kRows;
      T::store_f(out, fold<T, kPanelZero<T, WIDE, SHIFTED>>(g[t], SHIFTED, acc[t][i], d[i], sums[i], SHIFTED ? dsums[i] : 0.0f,
                                                            T::load_f(out)));
    }
  }
}

// Where a panel and the activations that meet it lie.
template <class T, int NT>
struct PanelPlace {
  const QmatmulInt8Args* args;
  const uint8_t* panel;  // [NT][kPanelColumns * 16]
  const GroupLanes<T>* groups;
  int64_t kt0, count;  // column tiles of the panel
};

// MR activation rows from row i on through one panel. y [MR][NT][16].
template <class T, bool WIDE, int LINES, bool SHIFTED, int NT, int MR>
NBL_NOINLINE void panel_block(const PanelPlace<T, NT>& p, int64_t i, float* y) {
  const QmatmulInt8Args& a = *p.args;
  const int64_t step = a.step, m = a.m;
  PanelStep<T, NT> s;
  s.x_stride = m * kCols;
  s.groups = p.groups;
  s.lines = step < kCols ? step / 4 : 16;
  const int64_t begin = p.kt0 * kCols;
  const int64_t end = begin + p.count * kCols < a.w.k_count ? begin + p.count * kCols : a.w.k_count;
  int64_t at = begin / step * m + i;
  for (int64_t k = begin; k < end; k += step, s.groups += NT, at += m) {
    const int64_t left = p.kt0 + p.count - k / kCols;
    s.tiles = step <= kCols ? 1 : (step / kCols < left ? step / kCols : left);
    s.panel = p.panel + (k - begin) * kRows;
    s.x = a.x + (k / kCols * m + i) * kCols + k % kCols;
    // After the last step the next rows' first tile. (Beyond the last rows there is none; a prefetch does not mind.)
    s.x_after = k + step < end ? a.x + ((k + step) / kCols * m + i) * kCols : a.x + (p.kt0 * m + i + MR) * kCols;
    s.d = a.d + at;
    s.sums = a.sums + at;
    s.dsums = a.dsums + at;
    if (LINES > 1 && step == 4 * LINES)
      panel_step<T, WIDE, LINES, SHIFTED, NT, MR, (LINES > 1)>(s, y);
    else
      panel_step<T, WIDE, LINES, SHIFTED, NT, MR, false>(s, y);
  }
}

// The sums of activation rows [i0, i1) and NT row tiles, [row][NT][16], from where they begin and to where they belong.
template <class T, int NT>
NBL_NOINLINE void load_sums(const QmatmulInt8Args& a, int64_t tile, int64_t i0, int64_t i1, float* sums) {
  for (int64_t i = i0; i < i1; ++i)
    for (int t = 0; t < NT; ++t, sums += kRows)
      T::store_f(sums, first_value<T>(a, (tile + t) * kRows, rows_of_tile(a, tile + t)));
}
template <class T, int NT>
NBL_NOINLINE void store_sums(const QmatmulInt8Args& a, int64_t tile, int64_t i0, int64_t i1, const float* sums) {
  for (int64_t i = i0; i < i1; ++i)
    for (int t = 0; t < NT; ++t, sums += kRows)
      store_sum<T>(a, (tile + t) * kRows, rows_of_tile(a, tile + t), i, T::load_f(sums));
}
// Brings the lines that store_sums() will write: rows far apart that no prefetcher expects.
template <int NT>
NBL_INLINE void expect_sums(const QmatmulInt8Args& a, int64_t tile, int64_t i0, int64_t i1) {
  for (int64_t i = i0; i < i1; ++i)
    for (int t = 0; t < NT; ++t) __builtin_prefetch(a.y + i * a.ldy + (tile + t) * kRows, 1);
}

// The groups that the steps of a panel lie in, [step][NT].
template <class T, class Codes, bool CODEBOOK, int NT>
NBL_NOINLINE void load_groups(const SegmentView& w, int64_t tile, int64_t kt, int64_t count, int64_t step,
                              GroupLanes<T>* groups) {
  for (int64_t k = kt * kCols; k < (kt + count) * kCols && k < w.k_count; k += step)
    for (int t = 0; t < NT; ++t)
      *groups++ = load_group<T, Codes, CODEBOOK>(w, (tile + t) * w.groups + (w.groups == 1 ? 0 : k / w.group_size));
}

// What panel_rows() calls for codes of one kind, so that it is compiled once for all.
template <class T, int NT>
struct PanelSource {
  void (*unpack)(const SegmentView& w, int64_t tile, int64_t kt, int64_t count, uint8_t* out);
  void (*load_groups)(const SegmentView& w, int64_t tile, int64_t kt, int64_t count, int64_t step, GroupLanes<T>* groups);
};

// Activation rows [i0, i1), all columns of NT row tiles: panel after panel, the sums in between in a block that stays
// near. The codes of the next panel are fetched a few lines at a time behind the products of this one.
template <class T, bool WIDE, int LINES, bool SHIFTED, int NT>
NBL_NOINLINE void panel_rows(const QmatmulInt8Args& a, const PanelSource<T, NT>& source, int64_t tile, int64_t i0, int64_t i1) {
  constexpr int MR = T::kRegisters == 32 ? 24 / NT : 4;
  constexpr int64_t kTiles = kPanelColumns / kCols;
  constexpr int64_t kRow = NT * kRows;
  alignas(64) uint8_t panel[NT * kPanelColumns * kRows];
  alignas(64) float y[kBlockRows * kRow];
  GroupLanes<T> groups[NT * kPanelColumns / 16];
  const SegmentView& w = a.w;
  const int64_t tile_bytes = w.tile_code_bytes(), group_bytes = w.scale_group_bytes();
  load_sums<T, NT>(a, tile, i0, i1, y);
  for (int64_t kt = 0; kt < w.column_tiles; kt += kTiles) {
    const int64_t count = w.column_tiles - kt < kTiles ? w.column_tiles - kt : kTiles;
    for (int t = 0; t < NT; ++t) source.unpack(w, tile + t, kt, count, panel + t * kPanelColumns * kRows);
    source.load_groups(w, tile, kt, count, a.step, groups);
    const bool last = kt + count == w.column_tiles;
    if (last) expect_sums<NT>(a, tile, i0, i1);
    // The next panel's codes: of the same row tiles, or where the next row tiles begin.
    const uint8_t* next = w.codes + (last ? (tile + NT) * w.column_tiles : tile * w.column_tiles + kt + count) * tile_bytes;
    int64_t fetched = last && tile + NT >= a.tile_end ? kTiles * tile_bytes : 0;
    const auto fetch = [&]() NBL_INLINE_LAMBDA {
      for (int64_t l = 0; l < kFetchAhead && fetched < kTiles * tile_bytes; ++l, fetched += 64)
        for (int t = 0; t < NT; ++t) __builtin_prefetch(next + t * w.column_tiles * tile_bytes + fetched);
    };
    if (!last && w.groups > 1)  // and its scales
      for (int t = 0; t < NT; ++t) {
        const uint8_t* scales = w.scales + ((tile + t) * w.groups + (kt + count) * kCols / w.group_size) * group_bytes;
        for (int64_t b = 0; b < kPanelColumns / w.group_size * group_bytes; b += 64) __builtin_prefetch(scales + b);
      }
    const PanelPlace<T, NT> p{&a, panel, groups, kt, count};
    // Where four rows would be left over, two blocks of eight end the rows: both keep the multipliers busy.
    const int64_t rest = (i1 - i0) % MR;
    const int64_t whole = MR == 12 && rest == 4 && i1 - i0 >= 16 ? i1 - 16 : i1 - rest;
    const bool largest = a.block_rows == 0 || a.block_rows >= MR;
    int64_t i = i0;
    for (; largest && i < whole; i += MR) {
      fetch();
      panel_block<T, WIDE, LINES, SHIFTED, NT, MR>(p, i, y + (i - i0) * kRow);
    }
    if constexpr (MR == 12)
      for (; a.block_rows != 4 && i + 8 <= i1; i += 8) {
        if (!largest) fetch();
        panel_block<T, WIDE, LINES, SHIFTED, NT, 8>(p, i, y + (i - i0) * kRow);
      }
    if (MR > 4)
      for (; i + 4 <= i1; i += 4) {
        if (a.block_rows == 4) fetch();
        panel_block<T, WIDE, LINES, SHIFTED, NT, 4>(p, i, y + (i - i0) * kRow);
      }
    for (; i < i1; ++i) panel_block<T, WIDE, LINES, SHIFTED, NT, 1>(p, i, y + (i - i0) * kRow);
  }
  store_sums<T, NT>(a, tile, i0, i1, y);
}

template <class T, class Codes, bool CODEBOOK, bool SHIFTED>
NBL_INLINE void many_rows(const QmatmulInt8Args& a) {
  constexpr int NT = T::kRegisters == 32 ? 2 : 1;
  constexpr int kLines = Codes::kWide ? 1 : kPairLines<T, Codes::kBits>;
  const PanelSource<T, NT> each{unpack_panel<T, Codes>, load_groups<T, Codes, CODEBOOK, NT>};
  const PanelSource<T, 1> last{unpack_panel<T, Codes>, load_groups<T, Codes, CODEBOOK, 1>};
  const int64_t blocks = (a.m + kBlockRows - 1) / kBlockRows;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t i0 = a.m * b / blocks, i1 = a.m * (b + 1) / blocks;
    int64_t tile = a.tile_begin;
    for (; tile + NT <= a.tile_end; tile += NT) panel_rows<T, Codes::kWide, kLines, SHIFTED, NT>(a, each, tile, i0, i1);
    for (; tile < a.tile_end; ++tile) panel_rows<T, Codes::kWide, kLines, SHIFTED, 1>(a, last, tile, i0, i1);
  }
}

// Lanes with registers for eight activation rows and two row tiles at a time; matrix tiles take five rows and more themselves.
template <class T>
constexpr bool kEightRows = T::kRegisters == 32 && !T::kMatrix;

template <class T, class Codes, bool CODEBOOK, int NT, bool SHORT>
NBL_INLINE void few_rows_tiles(const QmatmulInt8Args& a, int64_t tile) {
  if constexpr (NT == 1) {  // two row tiles are for more rows than four
    if (a.m == 1) return few_rows<T, Codes, CODEBOOK, NT, 1, SHORT, true>(a, tile, 0);
    if (a.m == 2) return few_rows<T, Codes, CODEBOOK, NT, 2, SHORT, true>(a, tile, 0);
  }
  if constexpr (!SHORT && kEightRows<T>) {
    if (a.m > 4 && a.block_rows != 4) {
      if constexpr (NT > 1) {  // of an odd number of row tiles the last is no body of its own
        if (a.m == 8) return few_rows<T, Codes, CODEBOOK, NT, 8, SHORT, true>(a, tile, 0);
      }
      for (int64_t i = 0; i < a.m; i += 8) few_rows<T, Codes, CODEBOOK, NT, 8, SHORT, false>(a, tile, i);
      return;
    }
  }
  for (int64_t i = 0; i < a.m; i += 4) few_rows<T, Codes, CODEBOOK, NT, 4, SHORT, false>(a, tile, i);
}

// Defined in qmatmul_int8_tiles.inl for lanes that have matrix tiles.
template <class T, class Codes, bool CODEBOOK>
void amx_many_rows(const QmatmulInt8Args& a);

template <class T, class Codes, bool CODEBOOK>
NBL_INLINE void run_codes(const QmatmulInt8Args& a) {
  if constexpr (T::kMatrix) {
    if (a.m >= kManyTileRows) return amx_many_rows<T, Codes, CODEBOOK>(a);
  } else {
    if (a.m >= kManyRows) {
      const bool shifted = !CODEBOOK && (a.w.zero == ZeroPoint::minimum || a.w.zero == ZeroPoint::real);
      return shifted ? many_rows<T, Codes, CODEBOOK, !CODEBOOK>(a) : many_rows<T, Codes, CODEBOOK, false>(a);
    }
  }
  // Up to four rows are bound by memory, which gives most to one stream of addresses: two row tiles at a time, two streams,
  // read a fifth slower. From five rows on, two row tiles share what is loaded of the activations.
  constexpr int NT = kEightRows<T> ? 2 : 1;
  int64_t tile = a.tile_begin;
  if (a.step < kCols) {
    for (; tile < a.tile_end; ++tile) few_rows_tiles<T, Codes, CODEBOOK, 1, true>(a, tile);
    return;
  }
  if (NT > 1 && a.m > 4)
    for (; tile + NT <= a.tile_end; tile += NT) few_rows_tiles<T, Codes, CODEBOOK, NT, false>(a, tile);
  for (; tile < a.tile_end; ++tile) few_rows_tiles<T, Codes, CODEBOOK, 1, false>(a, tile);
}

template <class T>
NBL_INLINE void qmatmul_int8_body(const QmatmulInt8Args& a) {
  if (a.w.kind == WeightKind::codebook) return run_codes<T, CodebookBytes<T>, true>(a);
  if (a.w.kind == WeightKind::trellis) {
    switch (a.w.bits) {
      case 1:
        return run_codes<T, TrellisBytes<T, 1>, true>(a);
      case 2:
        return run_codes<T, TrellisBytes<T, 2>, true>(a);
      case 3:
        return run_codes<T, TrellisBytes<T, 3>, true>(a);
      default:
        return run_codes<T, TrellisBytes<T, 4>, true>(a);
    }
  }
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
