// The body of the vector variants. The including file defines, in its anonymous namespace, a struct V with
//   reg, kLanes, load, store, broadcast (of one float in memory), fmadd(a, b, c) = a * b + c, zero,
// and calls gram_body<V, rows, vectors>: rows x (vectors * kLanes) results are held in registers at a time.

template <class V, int kRows, int kVectors>
inline void gram_body(const GramArgs* args) {
  static_assert(kGramPanel % kRows == 0 && kGramPanel % (kVectors * V::kLanes) == 0, "sub-blocks must tile the block");
  for (int j = 0; j < kGramPanel; j += kVectors * V::kLanes) {
    for (int i = 0; i < kGramPanel; i += kRows) {
      typename V::reg acc[kRows][kVectors];
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) acc[r][v] = V::zero();
      const float* a = args->a + i;
      const float* b = args->b + j;
      for (int64_t t = 0; t < args->steps; ++t, a += kGramPanel, b += kGramPanel) {
        typename V::reg row[kVectors];
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) row[v] = V::load(b + v * V::kLanes);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
          const typename V::reg x = V::broadcast(a + r);
#pragma GCC unroll 16
          for (int v = 0; v < kVectors; ++v) acc[r][v] = V::fmadd(x, row[v], acc[r][v]);
        }
      }
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        float* c = args->c + (i + r) * kGramPanel + j;
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) V::store(c + v * V::kLanes, V::add(V::load(c + v * V::kLanes), acc[r][v]));
      }
    }
  }
}
