// The body of attention.h, over lanes of any instruction set. L: lanes; C: how the cache's element types are read;
// kAccumulators: vectors of sixteen that may be summed at a time without spilling.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/attention/cache_lanes.inl"
#include "kernels/elementwise/lanes.inl"

namespace nbl::kernels {
namespace {

template <class L, class C, int kAccumulators>
struct Attention {
  using V = typename L::V;
  using X = Vec<L>;
  static constexpr int kTiles = static_cast<int>(kAttentionBlock / 16);
  static constexpr int kQ = static_cast<int>(kAttentionQueries);

  /// What a call works on, in plain reach of the loops.
  struct Work {
    const AttentionArgs* a;
    int64_t stride;                   ///< floats of an output row in scratch
    float (*score)[kAttentionBlock];  ///< [8][64]
    float* row[kQ];                   ///< running weighted sums of values
    float (*sum)[16];                 ///< running sums of weights, sixteen lanes a query
    float top[kQ];                    ///< running maxima
  };

  /// scores of Q queries against T tiles of keys: component by component, in order.
  template <class E, int Q, int T>
  static NBL_INLINE void dot_tiles(const E* keys, const E* ahead, int64_t dim, const float* const* q,
                                   float (*score)[kAttentionBlock], const int* index, int tile) {
    V acc[Q][T];
    NBL_UNROLL for (int i = 0; i < Q; ++i) { NBL_UNROLL for (int t = 0; t < T; ++t) acc[i][t] = L::set(0.0f); }
    for (int64_t d = 0; d < dim; ++d) {
      V key[T];
      NBL_UNROLL for (int t = 0; t < T; ++t) {
        key[t] = C::load(keys + (t * dim + d) * 16);
        __builtin_prefetch(ahead + (t * dim + d) * 16);
      }
      NBL_UNROLL for (int i = 0; i < Q; ++i) {
        const V x = L::set(q[i][d]);
        NBL_UNROLL for (int t = 0; t < T; ++t) acc[i][t] = L::fma(x, key[t], acc[i][t]);
      }
    }
    NBL_UNROLL for (int i = 0; i < Q; ++i) {
      NBL_UNROLL for (int t = 0; t < T; ++t) L::store(&score[index[i]][(tile + t) * 16], acc[i][t]);
    }
  }

  /// Tiles of one block for Q queries, as many tiles at a time as there are registers for.
  template <class E, int Q>
  static NBL_INLINE void dot_block(const E* keys, const E* ahead, int64_t dim, const float* const* q,
                                   float (*score)[kAttentionBlock], const int* index, int tiles) {
    constexpr int kWanted = kAccumulators / Q;
    constexpr int T = kWanted >= 4 ? 4 : kWanted >= 2 ? 2 : 1;
    int t = 0;
    for (; t + T <= tiles; t += T) dot_tiles<E, Q, T>(keys + t * dim * 16, ahead + t * dim * 16, dim, q, score, index, t);
    for (; t < tiles; ++t) dot_tiles<E, Q, 1>(keys + t * dim * 16, ahead + t * dim * 16, dim, q, score, index, t);
  }

  template <class E>
  static void scores(const Work& w, const E* keys, const E* ahead, const int* active, int count, int tiles) {
    const float* q[kQ];
    for (int i = 0; i < count; ++i) q[i] = w.a->q[active[i]];
    const int64_t dim = w.a->head_dim;
    int i = 0;
    if constexpr (kAccumulators >= 8)
      for (; i + 8 <= count; i += 8) dot_block<E, 8>(keys, ahead, dim, q + i, w.score, active + i, tiles);
    for (; i + 4 <= count; i += 4) dot_block<E, 4>(keys, ahead, dim, q + i, w.score, active + i, tiles);
    if (count - i == 3) dot_block<E, 3>(keys, ahead, dim, q + i, w.score, active + i, tiles);
    if (count - i == 2) dot_block<E, 2>(keys, ahead, dim, q + i, w.score, active + i, tiles);
    if (count - i == 1) dot_block<E, 1>(keys, ahead, dim, q + i, w.score, active + i, tiles);
  }

  /// Turns the scores of query `i`, positions [lo, hi) of the block at `first`, into weights relative to the running
  /// maximum, T tiles in registers. Positions outside get weight 0.
  template <int T>
  static NBL_INLINE void weigh_tiles(Work& w, int i, int64_t first, int lo, int hi) {
    const AttentionArgs& a = *w.a;
    float* s = w.score[i];
    const V none = L::set(-__builtin_inff()), scale = L::set(a.scale);
    V v[T];
    NBL_UNROLL for (int t = 0; t < T; ++t) v[t] = L::mul(L::load(s + t * 16), scale);
    if (a.soft_cap > 0) {
      const V cap = L::set(a.soft_cap);
      for (int t = 0; t < T; ++t) v[t] = L::mul(cap, X::tanh(L::div(v[t], cap)));
    }
    if (a.has_slope) {
      const V slope = L::set(a.slope[i]), from = L::set(static_cast<float>(first - (a.end[i] - 1)));
      NBL_UNROLL for (int t = 0; t < T; ++t) {
        const V distance = L::add(L::add(X::indices(), L::set(static_cast<float>(t * 16))), from);
        v[t] = L::add(v[t], L::mul(slope, distance));
      }
    }
    if (lo > 0 || hi < T * 16) {
      const V begin = L::set(static_cast<float>(lo)), end = L::set(static_cast<float>(hi));
      NBL_UNROLL for (int t = 0; t < T; ++t) {
        const V index = L::add(X::indices(), L::set(static_cast<float>(t * 16)));
        v[t] = L::select_less(index, begin, none, L::select_less(index, end, v[t], none));
      }
    }
    V best = v[0];
    NBL_UNROLL for (int t = 1; t < T; ++t) best = L::max(best, v[t]);
    const float top = X::largest(best);
    V sum = L::load(w.sum[i]);
    if (top > w.top[i]) {
      if (w.top[i] != -__builtin_inff()) {  // at the first block there is nothing yet to scale down
        const V factor = X::exp(L::set(w.top[i] - top));
        for (int64_t d = 0; d < w.stride; d += 16) L::store(w.row[i] + d, L::mul(L::load(w.row[i] + d), factor));
        sum = L::mul(sum, factor);
      }
      w.top[i] = top;
    }
    const V reference = L::set(w.top[i]);
    NBL_UNROLL for (int t = 0; t < T; ++t) {
      v[t] = X::exp(L::sub(v[t], reference));
      L::store(s + t * 16, v[t]);
    }
    NBL_UNROLL for (int t = 0; t < T; ++t) sum = L::add(sum, v[t]);
    L::store(w.sum[i], sum);
  }
  static void weigh(Work& w, int i, int64_t first, int lo, int hi, int tiles) {
    static_assert(kTiles == 4);
    switch (tiles) {
      case 1:
        return weigh_tiles<1>(w, i, first, lo, hi);
      case 2:
        return weigh_tiles<2>(w, i, first, lo, hi);
      case 3:
        return weigh_tiles<3>(w, i, first, lo, hi);
      default:
        return weigh_tiles<4>(w, i, first, lo, hi);
    }
  }

  /// row += sum over positions [lo, hi), in order, of weight * value: Q queries, D vectors of components.
  template <class E, int Q, int D>
  static NBL_INLINE void accumulate(const E* values, const E* ahead, int64_t stride, const float* const* weight,
                                    float* const* row, int64_t d, int lo, int hi) {
    V acc[Q][D];
    NBL_UNROLL for (int i = 0; i < Q; ++i) {
      NBL_UNROLL for (int j = 0; j < D; ++j) acc[i][j] = L::load(row[i] + d + j * 16);
    }
    for (int p = lo; p < hi; ++p) {
      V value[D];
      NBL_UNROLL for (int j = 0; j < D; ++j) {
        value[j] = C::load(values + p * stride + d + j * 16);
        __builtin_prefetch(ahead + p * stride + d + j * 16);
      }
      NBL_UNROLL for (int i = 0; i < Q; ++i) {
        const V x = L::set(weight[i][p]);
        NBL_UNROLL for (int j = 0; j < D; ++j) acc[i][j] = L::fma(x, value[j], acc[i][j]);
      }
    }
    NBL_UNROLL for (int i = 0; i < Q; ++i) {
      NBL_UNROLL for (int j = 0; j < D; ++j) L::store(row[i] + d + j * 16, acc[i][j]);
    }
  }
  template <class E, int Q>
  static NBL_INLINE void add_values(const E* values, const E* ahead, int64_t stride, const float* const* weight,
                                    float* const* row, int lo, int hi) {
    constexpr int kWanted = kAccumulators / Q;
    constexpr int D = kWanted >= 4 ? 4 : kWanted >= 2 ? 2 : 1;
    int64_t d = 0;
    for (; d + D * 16 <= stride; d += D * 16) accumulate<E, Q, D>(values, ahead, stride, weight, row, d, lo, hi);
    for (; d < stride; d += 16) accumulate<E, Q, 1>(values, ahead, stride, weight, row, d, lo, hi);
  }
  template <class E>
  static void values_of(const Work& w, const E* values, const E* ahead, const int* active, int count, int lo, int hi) {
    const float* weight[kQ];
    float* row[kQ];
    for (int i = 0; i < count; ++i) {
      weight[i] = w.score[active[i]];
      row[i] = w.row[active[i]];
    }
    int i = 0;
    if constexpr (kAccumulators >= 8)
      for (; i + 8 <= count; i += 8) add_values<E, 8>(values, ahead, w.stride, weight + i, row + i, lo, hi);
    for (; i + 4 <= count; i += 4) add_values<E, 4>(values, ahead, w.stride, weight + i, row + i, lo, hi);
    if (count - i == 3) add_values<E, 3>(values, ahead, w.stride, weight + i, row + i, lo, hi);
    if (count - i == 2) add_values<E, 2>(values, ahead, w.stride, weight + i, row + i, lo, hi);
    if (count - i == 1) add_values<E, 1>(values, ahead, w.stride, weight + i, row + i, lo, hi);
  }

  template <class E>
  static void attend_typed(const AttentionArgs& a) {
    Work w;
    w.a = &a;
    w.stride = (a.value_dim + 15) / 16 * 16;
    w.score = reinterpret_cast<float(*)[kAttentionBlock]>(a.scratch);
    float* rows = a.scratch + kQ * kAttentionBlock;
    w.sum = reinterpret_cast<float(*)[16]>(rows + kQ * w.stride);
    const int queries = static_cast<int>(a.queries);
    int64_t begin = a.begin[0], end = a.end[0];
    for (int i = 0; i < queries; ++i) {
      w.row[i] = rows + i * w.stride;
      for (int64_t d = 0; d < w.stride; ++d) w.row[i][d] = 0.0f;
      for (float& s : w.sum[i]) s = 0.0f;
      w.top[i] = -__builtin_inff();
      begin = a.begin[i] < begin ? a.begin[i] : begin;
      end = a.end[i] > end ? a.end[i] : end;
    }

    for (int64_t first = begin / kAttentionBlock * kAttentionBlock; first < end; first += kAttentionBlock) {
      int active[kQ], lo[kQ], hi[kQ];
      int count = 0;
      bool alike = true;
      for (int i = 0; i < queries; ++i) {
        if (a.begin[i] >= first + kAttentionBlock || a.end[i] <= first) continue;
        lo[i] = a.begin[i] > first ? static_cast<int>(a.begin[i] - first) : 0;
        hi[i] =
            a.end[i] < first + kAttentionBlock ? static_cast<int>(a.end[i] - first) : static_cast<int>(kAttentionBlock);
        active[count++] = i;
        alike = alike && lo[i] == lo[active[0]] && hi[i] == hi[active[0]];
      }
      if (count == 0) continue;
      int most = 0;
      for (int i = 0; i < count; ++i) most = hi[active[i]] > most ? hi[active[i]] : most;
      const E* keys = static_cast<const E*>(a.keys) + first * a.head_dim;
      const E* values = static_cast<const E*>(a.values) + first * w.stride;
      // The next block follows; no prefetcher sees that, as keys and values take turns.
      const bool last = first + kAttentionBlock >= end;
      const E* const keys_ahead =
          last && a.next_keys != nullptr ? static_cast<const E*>(a.next_keys) : keys + kAttentionBlock * a.head_dim;
      const E* const values_ahead =
          last && a.next_values != nullptr ? static_cast<const E*>(a.next_values) : values + kAttentionBlock * w.stride;
      const int tiles = (most + 15) / 16;
      scores<E>(w, keys, keys_ahead, active, count, tiles);
      for (int i = 0; i < count; ++i) weigh(w, active[i], first, lo[active[i]], hi[active[i]], tiles);
      if (alike) {
        values_of<E>(w, values, values_ahead, active, count, lo[active[0]], hi[active[0]]);
      } else {
        for (int i = 0; i < count; ++i) values_of<E>(w, values, values_ahead, active + i, 1, lo[active[i]], hi[active[i]]);
      }
    }

    for (int i = 0; i < queries; ++i) {
      const V inv = L::set(1.0f / X::sum(L::load(w.sum[i])));
      int64_t d = 0;
      for (; d + 16 <= a.value_dim; d += 16) L::store(a.out[i] + d, L::mul(L::load(w.row[i] + d), inv));
      if (d < a.value_dim) X::store_part(a.out[i] + d, L::mul(L::load(w.row[i] + d), inv), a.value_dim - d);
    }
  }

  static void attend(const AttentionArgs& a) {
    switch (a.type) {
      case CacheType::f32:
        attend_typed<float>(a);
        break;
      case CacheType::f16:
        attend_typed<F16>(a);
        break;
      case CacheType::bf16:
        attend_typed<Bf16>(a);
        break;
    }
  }

  template <class E>
  static NBL_INLINE void store_spread(const float* x, int64_t n, E* to, int64_t step) {
    alignas(64) E t[16];
    for (int64_t i = 0; i < n; i += 16) {
      const int64_t m = n - i < 16 ? n - i : 16;
      C::store(t, m == 16 ? L::load(x + i) : X::load_part(x + i, m));
      for (int64_t j = 0; j < m; ++j) to[(i + j) * step] = t[j];
    }
  }
  static void store(CacheType type, const float* x, int64_t n, void* to, int64_t step) {
    switch (type) {
      case CacheType::f32:
        for (int64_t i = 0; i < n; ++i) static_cast<float*>(to)[i * step] = x[i];
        break;
      case CacheType::f16:
        store_spread(x, n, static_cast<F16*>(to), step);
        break;
      case CacheType::bf16:
        store_spread(x, n, static_cast<Bf16*>(to), step);
        break;
    }
  }
  static void store_key(CacheType type, const float* key, int64_t n, void* to) { store(type, key, n, to, 16); }
  static void store_value(CacheType type, const float* value, int64_t n, void* to) { store(type, value, n, to, 1); }

  static constexpr AttentionKernels table(const char* name, Isa isa) {
    return {name, isa, &attend, &store_key, &store_value};
  }
};

}  // namespace
}  // namespace nbl::kernels
