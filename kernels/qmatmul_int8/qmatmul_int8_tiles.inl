// Many activation rows on AMX. Included inside an anonymous namespace after qmatmul_int8.inl.
//
// A column tile unpacked to bytes is a B tile as it lies (16 quads of columns x 16 rows x 4), and 16 activation rows of
// a column tile are an A tile. Up to 32 activation rows x 2 row tiles are computed at once:
//
//   tile 0, 1: rows 0-15 x row tile 0, 1      tile 4, 5: activations      tile 6, 7: weights
//   tile 2, 3: rows 16-31 x row tile 0, 1
//
// The float work (fold) is as long as the integer work, so the two overlap, two steps apart: while the matrix unit
// works on step s, the integer sums of step s - 1 are stored one tile at a time, each just before its tile is used
// again (four stores in a row would fill the store queue with stores that wait), and those of step s - 2 are folded
// into the float sums. With the zero points subtracted while unpacking (SIGNED), fold is three operations instead of
// four; results are the same.

struct Lanes512Amx : Lanes512Vnni {
  static constexpr bool kMatrix = true;
};

constexpr int64_t kAmxBlock = 32;

// Tiles 2, 3 and 5 get as many rows as the last block has; A and B tiles are as deep as a step where that is less than
// a tile.
NBL_INLINE void configure_amx(int64_t depth, int64_t last_rows) {
  TileConfig c;
  const auto shape = [&](int tile, int64_t rows, int64_t bytes) {
    c.rows[tile] = static_cast<uint8_t>(rows);
    c.bytes[tile] = static_cast<uint16_t>(bytes);
  };
  shape(0, 16, 64);
  shape(1, 16, 64);
  shape(2, last_rows, 64);
  shape(3, last_rows, 64);
  shape(4, 16, depth);
  shape(5, last_rows, depth);
  shape(6, depth / 4, 64);
  shape(7, depth / 4, 64);
  _tile_loadconfig(&c);
}

template <class T>
struct AmxPlace {
  const QmatmulInt8Args* args;
  const uint8_t* panel[2];  // lines of the panel's first column
  const GroupLanes<T>* groups;
  int64_t kt0, count;
  bool shifted;
};

// What the fold of one step needs.
template <class T>
struct AmxFold {
  const GroupLanes<T>* groups;
  const float* d;
  const float* sums;
  const float* dsums;
  float* y;  // [rows][NT][16]
};

template <class T, int NT, bool SIGNED>
NBL_INLINE void fold_row(const AmxFold<T>& f, bool shifted, const int32_t* from, int64_t row) {
  const typename T::F d = T::set1_f(f.d[row]);
  NBL_EACH (t, NT) {
    float* out = f.y + (row * NT + t) * kRows;
    const GroupLanes<T>& g = f.groups[t];
    typename T::F v = T::to_f(T::load(from + t * 256));
    if (!SIGNED) v = T::fnma(g.zero, T::set1_f(f.sums[row]), v);
    v = T::fma(v, T::mul_f(g.scale, d), T::load_f(out));
    if (!SIGNED && shifted) v = T::fma(g.shift, T::set1_f(f.dsums[row]), v);
    T::store_f(out, v);
  }
}

// Part 0-3: four rows each of the first 16 (LOW); 4-7: of the `last` ones after them.
template <class T, int NT, bool LOW, bool SIGNED, int PART>
NBL_INLINE void fold_part(const AmxFold<T>& f, bool shifted, const int32_t* sums, int64_t last) {
  if constexpr (PART < 4) {
    if constexpr (LOW)
      NBL_EACH (r, 4) fold_row<T, NT, SIGNED>(f, shifted, sums + (4 * PART + r) * kRows, 4 * PART + r);
  } else {
    constexpr int64_t kFirst = 4 * (PART - 4);
    constexpr int64_t kBefore = LOW ? 16 : 0;
    if (last >= kFirst + 4) {
      NBL_EACH (r, 4) fold_row<T, NT, SIGNED>(f, shifted, sums + 512 + (kFirst + r) * kRows, kBefore + kFirst + r);
    } else {
      for (int64_t r = kFirst; r < last; ++r) fold_row<T, NT, SIGNED>(f, shifted, sums + 512 + r * kRows, kBefore + r);
    }
  }
}

// `blocks` blocks of activation rows from row i on through one panel: 16 rows (LOW) and `last` rows each.
template <class T, int NT, bool LOW, bool SIGNED>
NBL_NOINLINE void amx_blocks(const AmxPlace<T>& p, int64_t i, int64_t blocks, int64_t last, float* y) {
  const QmatmulInt8Args& a = *p.args;
  alignas(64) int32_t sums[2][1024];
  const int64_t depth = a.step < kCols ? a.step : kCols;
  const int64_t begin = p.kt0 * kCols;
  const int64_t padded_end = begin + p.count * kCols;
  const int64_t end = padded_end < a.w.k_count ? padded_end : a.w.k_count;
  const int64_t steps = (end - begin + a.step - 1) / a.step;
  const int64_t block_rows = LOW ? kAmxBlock : last;
  const int64_t x_stride = a.m * kCols;

  AmxFold<T> f;  // of the step that is folded
  const auto fold_at = [&](int64_t block, int64_t step) NBL_INLINE_LAMBDA {
    const int64_t at = (begin / a.step + step) * a.m + i + block * block_rows;
    f.groups = p.groups + step * NT;
    f.d = a.d + at;
    f.sums = a.sums + at;
    f.dsums = a.dsums + at;
    f.y = y + block * block_rows * NT * kRows;
  };
  // The activations of the step after this one come from the second-level cache: 32 lines a column tile.
  const int64_t next_tiles = a.step <= kCols ? 1 : a.step / kCols;
  const auto expect_rows = [&](const int8_t* next, int part) NBL_INLINE_LAMBDA {
    const int8_t* lines = next + (part >> 2) * x_stride + (part & 3) * 8 * kCols;
    if (part < 4 || next_tiles > 1)
      NBL_EACH (r, 8) __builtin_prefetch(lines + r * kCols);
  };
  int64_t block = 0, step = 0;            // being multiplied
  int64_t fold_block = 0, fold_step = 0;  // being folded
  const int64_t total = blocks * steps;
  for (int64_t now = 0; now < total + 2; ++now) {
    const bool store = now >= 1 && now <= total;
    const bool fold = now >= 2;
    int32_t* to = sums[(now + 1) & 1];
    const int32_t* from = sums[now & 1];
    if (fold) {
      fold_at(fold_block, fold_step);
      if (++fold_step == steps) {
        fold_step = 0;
        ++fold_block;
      }
    }
#define NBL_FOLD_PART(part)                                                \
  if (fold) fold_part<T, NT, LOW, SIGNED, part>(f, p.shifted, from, last); \
  if (LOW) expect_rows(next_x, part)
#define NBL_NEXT_TILE(tile)                           \
  if (store) _tile_stored(tile, to + tile * 256, 64); \
  _tile_zero(tile)
#define NBL_MULTIPLY(tile, x, w) \
  if constexpr (SIGNED)          \
    _tile_dpbssd(tile, x, w);    \
  else                           \
    _tile_dpbsud(tile, x, w)
    const int8_t* next_x = a.x;
    if (now < total) {
      const int64_t k = begin + step * a.step;
      const int64_t stop = k + a.step < padded_end ? k + a.step : padded_end;
      const int8_t* x = a.x + k / kCols * x_stride + (i + block * block_rows) * kCols + k % kCols;
      next_x = step + 1 < steps ? x + (k + a.step) / kCols * x_stride - k / kCols * x_stride
                                : a.x + begin / kCols * x_stride + (i + (block + 1) * block_rows) * kCols;
      const int64_t line = (k - begin) * kRows;
      _tile_loadd(6, p.panel[0] + line, 64);
      if constexpr (LOW) {
        _tile_loadd(4, x, 64);
        NBL_NEXT_TILE(0);
        NBL_MULTIPLY(0, 4, 6);
        NBL_FOLD_PART(0);
      }
      if constexpr (NT == 2) {
        _tile_loadd(7, p.panel[1] + line, 64);
        if constexpr (LOW) {
          NBL_NEXT_TILE(1);
          NBL_MULTIPLY(1, 4, 7);
        }
      }
      _tile_loadd(5, x + (LOW ? 16 : 0) * kCols, 64);
      NBL_FOLD_PART(1);
      NBL_NEXT_TILE(2);
      NBL_MULTIPLY(2, 5, 6);
      NBL_FOLD_PART(2);
      if constexpr (NT == 2) {
        NBL_NEXT_TILE(3);
        NBL_MULTIPLY(3, 5, 7);
      }
      NBL_FOLD_PART(3);
      if (k + depth < stop) {
        x += x_stride;
        const int64_t next = line + kCols * kRows;
        _tile_loadd(6, p.panel[0] + next, 64);
        if constexpr (LOW) {
          _tile_loadd(4, x, 64);
          NBL_MULTIPLY(0, 4, 6);
        }
        NBL_FOLD_PART(4);
        if constexpr (NT == 2) {
          _tile_loadd(7, p.panel[1] + next, 64);
          if constexpr (LOW) {
            NBL_MULTIPLY(1, 4, 7);
          }
        }
        _tile_loadd(5, x + (LOW ? 16 : 0) * kCols, 64);
        NBL_FOLD_PART(5);
        NBL_MULTIPLY(2, 5, 6);
        NBL_FOLD_PART(6);
        if constexpr (NT == 2) {
          NBL_MULTIPLY(3, 5, 7);
        }
        NBL_FOLD_PART(7);
      } else {
        NBL_FOLD_PART(4);
        NBL_FOLD_PART(5);
        NBL_FOLD_PART(6);
        NBL_FOLD_PART(7);
      }
      if (++step == steps) {
        step = 0;
        ++block;
      }
    } else {
      if (store) {
        if constexpr (LOW) {
          _tile_stored(0, to, 64);
          if constexpr (NT == 2) _tile_stored(1, to + 256, 64);
        }
        _tile_stored(2, to + 512, 64);
        if constexpr (NT == 2) _tile_stored(3, to + 768, 64);
      }
      NBL_FOLD_PART(0);
      NBL_FOLD_PART(1);
      NBL_FOLD_PART(2);
      NBL_FOLD_PART(3);
      NBL_FOLD_PART(4);
      NBL_FOLD_PART(5);
      NBL_FOLD_PART(6);
      NBL_FOLD_PART(7);
    }
#undef NBL_FOLD_PART
#undef NBL_NEXT_TILE
#undef NBL_MULTIPLY
  }
}

// ---- Panels whose bytes are codes less their zero points.

template <class T, class Codes, int C, int Q>
NBL_INLINE void store_signed(const typename Codes::Tile& tile, const typename T::I (&zero)[4], uint8_t* out) {
  T::store(out + 64 * (4 * C + Q), T::sub_i8(tile.template get<C, Q>(), zero[C]));
}

template <class T, class Codes>
NBL_NOINLINE void unpack_signed_panel(const SegmentView& w, int64_t tile, int64_t kt, int64_t count, uint8_t* out) {
  using I = typename T::I;
  const Codes codes(w);
  const uint8_t* p = w.codes + (tile * w.column_tiles + kt) * Codes::kTileBytes;
  I zero[4];
  NBL_EACH (c, 4)
    zero[c] = T::set1(static_cast<int32_t>(0x01010101u * (Codes::kWide ? 128u : 1u << (Codes::kBits - 1))));
  int64_t known = -1;
  I group_zero = zero[0];
  for (int64_t n = 0; n < count; ++n, p += Codes::kTileBytes, out += 1024) {
    if constexpr (!Codes::kWide) {
      if (w.zero == ZeroPoint::code) {
        for (int c = 0; c < 4; ++c) {
          const int64_t k = (kt + n) * kCols + 16 * c;
          const int64_t group = w.groups == 1 ? 0 : k / w.group_size;
          if (group != known && group < w.groups) {
            known = group;
            const I z = load_zero_codes<T, Codes::kBits>(w.zeros + (tile * w.groups + group) * w.zero_group_bytes());
            const I two = T::bor(z, T::template shift_right<-8>(z));
            group_zero = T::bor(two, T::template shift_right<-16>(two));
          }
          zero[c] = group_zero;
        }
      }
    }
    const typename Codes::Tile open = codes.open(p);
    store_signed<T, Codes, 0, 0>(open, zero, out);
    store_signed<T, Codes, 2, 0>(open, zero, out);
    store_signed<T, Codes, 1, 0>(open, zero, out);
    store_signed<T, Codes, 3, 0>(open, zero, out);
    store_signed<T, Codes, 0, 1>(open, zero, out);
    store_signed<T, Codes, 2, 1>(open, zero, out);
    store_signed<T, Codes, 1, 1>(open, zero, out);
    store_signed<T, Codes, 3, 1>(open, zero, out);
    store_signed<T, Codes, 0, 2>(open, zero, out);
    store_signed<T, Codes, 2, 2>(open, zero, out);
    store_signed<T, Codes, 1, 2>(open, zero, out);
    store_signed<T, Codes, 3, 2>(open, zero, out);
    store_signed<T, Codes, 0, 3>(open, zero, out);
    store_signed<T, Codes, 2, 3>(open, zero, out);
    store_signed<T, Codes, 1, 3>(open, zero, out);
    store_signed<T, Codes, 3, 3>(open, zero, out);
  }
}

// ---- All columns of NT row tiles for activation rows [i0, i1).

template <class T, int NT, bool SIGNED>
NBL_NOINLINE void amx_panel(const AmxPlace<T>& p, int64_t i0, int64_t i1, float* y) {
  const int64_t depth = p.args->step < kCols ? p.args->step : kCols;
  // Whole blocks of 32, then a last one of 1 to 31 rows, the last 16 or fewer of which are in the short tiles.
  const int64_t whole = (i1 - i0) / kAmxBlock;
  const int64_t left = i1 - i0 - whole * kAmxBlock;
  const int64_t i = i0 + whole * kAmxBlock;
  float* y_left = y + whole * kAmxBlock * NT * kRows;
  if (whole > 0) {
    configure_amx(depth, 16);
    amx_blocks<T, NT, true, SIGNED>(p, i0, whole, 16, y);
  }
  if (left > 16) {
    configure_amx(depth, left - 16);
    amx_blocks<T, NT, true, SIGNED>(p, i, 1, left - 16, y_left);
  } else if (left > 0) {
    configure_amx(depth, left);
    amx_blocks<T, NT, false, SIGNED>(p, i, 1, left, y_left);
  }
}

template <class T, class Codes, bool CODEBOOK, int NT>
NBL_NOINLINE void amx_rows(const QmatmulInt8Args& a, int64_t tile, int64_t i0, int64_t i1) {
  constexpr int64_t kTiles = kPanelColumns / kCols;
  alignas(64) uint8_t panel[NT * kPanelColumns * kRows];
  alignas(64) float y[kBlockRows * NT * kRows];
  GroupLanes<T> groups[NT * kPanelColumns / 16];
  const SegmentView& w = a.w;
  const bool is_signed = CODEBOOK || w.zero == ZeroPoint::symmetric || (w.zero == ZeroPoint::code && Codes::kBits < 8);
  AmxPlace<T> p;
  p.args = &a;
  p.groups = groups;
  p.shifted = !CODEBOOK && (w.zero == ZeroPoint::minimum || w.zero == ZeroPoint::real);
  load_sums<T, NT>(a, tile, i0, i1, y);
  for (int64_t kt = 0; kt < w.column_tiles; kt += kTiles) {
    const int64_t count = w.column_tiles - kt < kTiles ? w.column_tiles - kt : kTiles;
    for (int t = 0; t < NT; ++t) {
      uint8_t* room = panel + t * kPanelColumns * kRows;
      p.panel[t] = room;
      if (is_signed)
        unpack_signed_panel<T, Codes>(w, tile + t, kt, count, room);
      else if (Codes::kBits == 8)  // the tiles are the panel
        p.panel[t] = w.codes + ((tile + t) * w.column_tiles + kt) * 1024;
      else
        unpack_panel<T, Codes>(w, tile + t, kt, count, room);
    }
    p.kt0 = kt;
    p.count = count;
    load_groups<T, Codes, CODEBOOK, NT>(w, tile, kt, count, a.step, groups);
    if (kt + count == w.column_tiles) expect_sums<NT>(a, tile, i0, i1);
    if (is_signed)
      amx_panel<T, NT, true>(p, i0, i1, y);
    else
      amx_panel<T, NT, false>(p, i0, i1, y);
  }
  _tile_release();
  store_sums<T, NT>(a, tile, i0, i1, y);
}

// Blocks of activation rows stay in the second-level cache while all row tiles pass by.
NBL_INLINE int64_t block_count(const QmatmulInt8Args& a) {
  constexpr int64_t kBlockBytes = 512 * 1024;
  const int64_t fit = kBlockBytes / (a.w.column_tiles * kCols) / 32 * 32;
  const int64_t most = fit > kBlockRows ? kBlockRows : fit < 96 ? 96 : fit;
  return (a.m + most - 1) / most;
}

template <class T, class Codes, bool CODEBOOK>
NBL_INLINE void amx_many_rows(const QmatmulInt8Args& a) {
  const int64_t blocks = block_count(a);
  const int64_t units = (a.m + kAmxBlock - 1) / kAmxBlock;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t i0 = units * b / blocks * kAmxBlock;
    const int64_t i1 = b + 1 == blocks ? a.m : units * (b + 1) / blocks * kAmxBlock;
    int64_t tile = a.tile_begin;
    for (; tile + 2 <= a.tile_end; tile += 2) amx_rows<T, Codes, CODEBOOK, 2>(a, tile, i0, i1);
    for (; tile < a.tile_end; ++tile) amx_rows<T, Codes, CODEBOOK, 1>(a, tile, i0, i1);
  }
}
