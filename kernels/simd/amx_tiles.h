// AMX tile configuration. Only files named *_amx.cpp include this.
#pragma once

#include <cstdint>

#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes[16] = {};  // a row's
  uint8_t rows[16] = {};
};

// All eight tiles of 16 rows x 64 bytes; `a_rows` (1..16) for the tiles in `short_tiles` (a bit a tile).
NBL_INLINE void configure_tiles(uint32_t short_tiles, int a_rows) {
  TileConfig c;
  for (int t = 0; t < 8; ++t) {
    c.bytes[t] = 64;
    c.rows[t] = static_cast<uint8_t>((short_tiles >> t & 1) != 0 ? a_rows : 16);
  }
  _tile_loadconfig(&c);
}

}  // namespace
}  // namespace nbl::kernels
