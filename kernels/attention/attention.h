// Attention of a few query rows over the cached keys and values of one key-value head, and the cache's layout.
//
// Keys lie in tiles of 16 positions: [position / 16][head_dim][16], so one vector holds the same component of 16 keys
// and a score needs no sum across lanes. Values lie as rows, [position][value stride], stride = value_dim rounded up to
// 16, the padding zero. Both in the cache's element type. Whole tiles and rows must be readable for every position
// below `end` rounded up to 16; what lies beyond `end` must be finite.
//
// Every query's result is computed in an order that depends on its own begin and end alone (blocks of 64 positions
// counted from 0, online softmax between blocks), not on the queries beside it: decoding gives the same bytes as
// prefill.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace nbl::kernels {

enum class CacheType : int32_t { f32 = 0, f16 = 1, bf16 = 2 };
inline constexpr int64_t kCacheTypeBytes[] = {4, 2, 2};

inline constexpr int64_t kAttentionQueries = 8;  ///< query rows a call
inline constexpr int64_t kAttentionBlock = 64;   ///< positions between two looks at the maximum

struct AttentionArgs {
  CacheType type = CacheType::f32;
  int64_t head_dim = 0;   ///< components of a key
  int64_t value_dim = 0;  ///< components of a value
  const void* keys = nullptr;
  const void* values = nullptr;
  int64_t queries = 0;                     ///< 1 ... kAttentionQueries
  const float* q[kAttentionQueries] = {};  ///< head_dim floats each
  float* out[kAttentionQueries] = {};      ///< value_dim floats each
  int64_t begin[kAttentionQueries] = {};   ///< positions [begin, end) are seen; begin < end
  int64_t end[kAttentionQueries] = {};
  float scale = 1;
  float soft_cap = 0;                   ///< 0: none; else scores become cap * tanh(score / cap)
  float slope[kAttentionQueries] = {};  ///< ALiBi: slope * (position - (end - 1)) is added to a score
  bool has_slope = false;
  /// What the caller reads after these keys and values: fetched with the last block. Null where unknown; at least a block of each
  /// may be asked for, which need not be readable.
  const void* next_keys = nullptr;
  const void* next_values = nullptr;
  float* scratch = nullptr;  ///< attention_scratch_floats(value_dim) floats, 64-byte aligned
};

/// [8][64] scores, [8] rows of value_dim rounded up to 16, and [8][16] sums.
constexpr int64_t attention_scratch_floats(int64_t value_dim) {
  return kAttentionQueries * (kAttentionBlock + (value_dim + 15) / 16 * 16 + 16);
}

struct AttentionKernels {
  const char* name;
  Isa isa;
  void (*attend)(const AttentionArgs& args);
  /// Writes one key (n components, 16 apart) and one value (n components, consecutive) of the cache's type.
  void (*store_key)(CacheType type, const float* key, int64_t n, void* first_component);
  void (*store_value)(CacheType type, const float* value, int64_t n, void* row);
};

/// The variant for `isa`, or the best one below it.
const AttentionKernels& attention_kernels(Isa isa) noexcept;

}  // namespace nbl::kernels
