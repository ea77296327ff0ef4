// Few activation rows: codes are unpacked from the tiles straight into dot products. Included by qmatmul_int8.inl.
// NT row tiles x MR activation rows, ACC integer accumulators each: 4 (one a 16-column chunk of a tile) when a step may
// be shorter than a tile.

// Whether sums of odd chunks are four times what they should be: where these have accumulators of their own, 2-bit codes need not be
// moved to the beginning of their byte (12 times 127, eight pairs of it, still fit 16 bits). On AVX2 alone, where it was measured.
template <class T, class Codes, int ACC>
constexpr bool kFourfold = T::kPairs && T::kRegisters == 16 && !Codes::kWide && Codes::kBits == 2 && ACC > 1;

template <class T, class Codes, int NT, int MR, int ACC, int C, int Q>
NBL_INLINE void dot_quad(const typename Codes::Tile (&tile)[NT], const int8_t* const (&x)[MR],
                         typename T::I (&acc)[NT][MR][ACC], typename T::I (&pairs)[NT][MR][ACC]) {
  typename T::I xb[MR];
  NBL_EACH (i, MR) xb[i] = T::quad(x[i] + 16 * C + 4 * Q);
  NBL_EACH (t, NT) {
    typename T::I w;
    if constexpr (kFourfold<T, Codes, ACC>) w = tile[t].template get_or_fourfold<C, Q>();
    else w = operand<T, Codes, C, Q>(tile[t]);
    if constexpr (!Codes::kWide && kPairLines<T, Codes::kBits> > 1) {
      constexpr int kOrder = C == 0 ? 0 : C == 3 ? 3 : 3 - C;        // of the chunks below
      constexpr int kEach = 16 / ACC;                                // products that one of the sums takes of a tile,
      constexpr int kBefore = Q * kEach / 4 + kOrder % (kEach / 4);  // and those before this one
      constexpr int kLines = kPairLines<T, Codes::kBits>;
      NBL_EACH (i, MR) {
        typename T::I& sum = pairs[t][i][C % ACC];
        sum = kBefore % kLines == 0 ? T::pair_products(w, xb[i]) : T::add_products(sum, w, xb[i]);
        if (kBefore % kLines == kLines - 1 || kBefore == kEach - 1) acc[t][i][C % ACC] = T::widen(acc[t][i][C % ACC], sum);
      }
    } else {
      NBL_EACH (i, MR) acc[t][i][C % ACC] = dot<T, Codes>(acc[t][i][C % ACC], w, xb[i]);
    }
  }
}

template <class T, class Codes, int NT, int MR, int ACC>
NBL_INLINE void dot_tile(const Codes& codes, const uint8_t* const (&p)[NT], const int8_t* const (&x)[MR],
                         typename T::I (&acc)[NT][MR][ACC]) {
  typename Codes::Tile tile[NT];
  typename T::I pairs[NT][MR][ACC];  // where sums of pairs wait to be widened
  NBL_EACH (t, NT) tile[t] = codes.open(p[t]);
  // Chunks that share lines next to each other.
  dot_quad<T, Codes, NT, MR, ACC, 0, 0>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 2, 0>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 1, 0>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 3, 0>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 0, 1>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 2, 1>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 1, 1>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 3, 1>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 0, 2>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 2, 2>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 1, 2>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 3, 2>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 0, 3>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 2, 3>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 1, 3>(tile, x, acc, pairs);
  dot_quad<T, Codes, NT, MR, ACC, 3, 3>(tile, x, acc, pairs);
}

// Independent sums that hide the latency of a dot product.
template <class T, int NT, int MR, bool SHORT>
constexpr int kSums = SHORT || (T::kRegisters == 32 && NT * MR <= 2) ? 4 : NT * MR <= (T::kRegisters == 32 ? 4 : 2) ? 2 : 1;

// EVERY: all MR activation rows exist. They then lie at fixed distances, which leaves the address registers to the rest: 5 % with
// eight rows.
template <class T, class Codes, bool CODEBOOK, int NT, int MR, bool SHORT, bool EVERY>
NBL_NOINLINE void few_rows(const QmatmulInt8Args& a, int64_t tile, int64_t i0) {
  using F = typename T::F;
  using I = typename T::I;
  constexpr int ACC = kSums<T, NT, MR, SHORT>;
  constexpr int64_t kTileBytes = Codes::kTileBytes;
  const SegmentView& w = a.w;
  // Bytes of codes that are fetched ahead: more than memory under load takes, and where there are two streams less than a short row
  // tile has. A code of 8 bits is read with less work in between, so that fetches too far ahead pile up, unless scales come between.
  const int64_t one_stream = Codes::kBits != 8 ? 8192 : w.groups == 1 ? 6144 : 12288;
  const int64_t ahead_bytes = NT == 1 ? one_stream : w.column_tiles * kTileBytes >= 16384 ? 8192 : 4096;
  const Codes codes(w);
  const bool shifted = !CODEBOOK && (w.zero == ZeroPoint::minimum || w.zero == ZeroPoint::real);

  const uint8_t *p[NT], *ahead[NT];
  int rows[NT];
  F y[NT][MR];
  int64_t row_i[MR];  // from i0; activation rows beyond the last repeat it and are not stored
  NBL_EACH (i, MR) row_i[i] = EVERY || i0 + i < a.m ? i : a.m - 1 - i0;
  NBL_EACH (t, NT) {
    p[t] = w.codes + (tile + t) * w.column_tiles * kTileBytes;
    ahead[t] = p[t] + ahead_bytes;
    rows[t] = rows_of_tile(a, tile + t);
    NBL_EACH (i, MR) y[t][i] = first_value<T>(a, (tile + t) * kRows, rows[t]);
  }
  // Where the fetches of the first of two row tiles reach the second, whose codes are here already, they go on with the
  // row tile after the next.
  int64_t turn = NT == 2 ? w.column_tiles - ahead_bytes / kTileBytes : -1;
  int64_t leap = 2 * w.column_tiles * kTileBytes;
  if (NT == 1 && a.next_codes != nullptr) {  // and where those of one row tile reach the end, with what is read next
    const uint8_t* end = w.codes + a.tile_end * w.column_tiles * kTileBytes;
    turn = end > ahead[0] ? (end - ahead[0]) / kTileBytes : 0;
    leap = static_cast<int64_t>(reinterpret_cast<uintptr_t>(a.next_codes) - reinterpret_cast<uintptr_t>(end));
    if (tile + 1 == a.tile_end) {
      __builtin_prefetch(a.next_scales);
      __builtin_prefetch(a.next_scales + 64);
      __builtin_prefetch(a.next_zeros);
    }
  }
  I acc[NT][MR][ACC];
  const auto clear = [&]() NBL_INLINE_LAMBDA {
    NBL_EACH (t, NT)
      NBL_EACH (i, MR)
        NBL_EACH (c, ACC) acc[t][i][c] = T::zero();
  };
  // What the chunks of accumulator c add up to.
  const auto sum_of = [&](int t, int i, int c) NBL_INLINE_LAMBDA {
    if constexpr (kFourfold<T, Codes, ACC>) {
      if (c % 2 == 1) return T::quarter(acc[t][i][c]);
    }
    return acc[t][i][c];
  };
  // Steps come in order: counted, as a division takes as long as many dot products.
  int64_t at = i0, group = 0, group_end = w.group_size;
  // The step that begins at column k: fold what `sum(t, i)` gives.
  const auto fold_step = [&](int64_t k, const auto& sum) NBL_INLINE_LAMBDA {
    if (k >= group_end) {
      ++group;
      group_end += w.group_size;
    }
    NBL_EACH (t, NT) {
      const int64_t tile_group = (tile + t) * w.groups + group;
      __builtin_prefetch(w.scales + (tile_group + 16) * w.scale_group_bytes());
      const GroupLanes<T> g = load_group<T, Codes, CODEBOOK>(w, tile_group);
      NBL_EACH (i, MR) {
        const int64_t j = at + row_i[i];
        y[t][i] = fold<T>(g, shifted, sum(t, i), a.d[j], a.sums[j], a.dsums[j], y[t][i]);
      }
    }
    at += a.m;
  };
  clear();
  int64_t step_begin = 0;
  for (int64_t kt = 0; kt < w.column_tiles; ++kt) {
    const int8_t* x[MR];
    NBL_EACH (i, MR) x[i] = a.x + (kt * a.m + i0) * kCols + row_i[i] * kCols;
    if (kt == turn) ahead[0] += leap;
    NBL_EACH (t, NT) {
      for (int64_t b = 0; b < kTileBytes; b += 64) __builtin_prefetch(ahead[t] + b);
      ahead[t] += kTileBytes;
    }
    dot_tile<T, Codes, NT, MR, ACC>(codes, p, x, acc);
    NBL_EACH (t, NT) p[t] += kTileBytes;
    const int64_t k = kt * kCols;
    if constexpr (SHORT) {
      if (a.step == 16) {
        NBL_EACH (c, 4)
          if (k + 16 * c < w.k_count)
            fold_step(k + 16 * c, [&](int t, int i) NBL_INLINE_LAMBDA { return sum_of(t, i, c); });
      } else {
        NBL_EACH (c, 2)
          if (k + 32 * c < w.k_count)
            fold_step(k + 32 * c,
                      [&](int t, int i) NBL_INLINE_LAMBDA { return T::add(sum_of(t, i, 2 * c), sum_of(t, i, 2 * c + 1)); });
      }
      clear();
    } else if (k + kCols - step_begin == a.step || kt + 1 == w.column_tiles) {
      fold_step(step_begin, [&](int t, int i) NBL_INLINE_LAMBDA {
        I sum = acc[t][i][0];
        if constexpr (ACC == 4)
          sum = T::add(T::add(sum, sum_of(t, i, 1)), T::add(acc[t][i][ACC - 2], sum_of(t, i, ACC - 1)));
        else if constexpr (ACC == 2)
          sum = T::add(sum, sum_of(t, i, ACC - 1));
        return sum;
      });
      clear();
      step_begin = k + kCols;
    }
  }
  NBL_EACH (t, NT)
    NBL_EACH (i, MR)
      if (EVERY || i0 + i < a.m) store_sum<T>(a, (tile + t) * kRows, rows[t], i0 + i, y[t][i]);
}
