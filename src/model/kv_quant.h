// Keys and values of a head in 8 and 4 bits. A group is up to 32 components of one position; its scale (and for 4 bits its
// minimum) is a float16 that lies behind the codes.
//
// A tile of keys, 16 positions: q8: codes [head_dim][16] signed bytes, scales [groups][16]; q4: codes [(head_dim + 1) / 2][16],
// the even component in the low half, scales [groups][16], minima [groups][16]. A value row: q8: codes [stride], scales
// [groups]; q4: codes [stride / 2], scales [groups], minima [groups].
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/model.h"

namespace nbl::model {

inline constexpr int64_t kKvGroup = 32;

int64_t quantized_tile_bytes(KvType type, int64_t head_dim);
int64_t quantized_row_bytes(KvType type, int64_t stride);  ///< stride: a multiple of 16

/// Writes the key of one of a tile's 16 positions.
void store_key_q8(const float* key, int64_t head_dim, int64_t lane, std::byte* tile) noexcept;
void store_key_q4(const float* key, int64_t head_dim, int64_t lane, std::byte* tile) noexcept;
/// Writes n components; the rest of the row reads as zeros.
void store_value_q8(const float* value, int64_t n, int64_t stride, std::byte* row) noexcept;
void store_value_q4(const float* value, int64_t n, int64_t stride, std::byte* row) noexcept;
/// [head_dim][16] floats.
void read_keys_q8(const std::byte* tile, int64_t head_dim, float* out) noexcept;
void read_keys_q4(const std::byte* tile, int64_t head_dim, float* out) noexcept;
/// [stride] floats.
void read_value_q8(const std::byte* row, int64_t stride, float* out) noexcept;
void read_value_q4(const std::byte* row, int64_t stride, float* out) noexcept;

}  // namespace nbl::model
