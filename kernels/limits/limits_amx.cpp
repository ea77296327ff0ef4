#include "kernels/limits/limits.h"
#include "kernels/simd/amx_tiles.h"

namespace nbl::kernels {

void limit_amx_int8__amx(LimitArgs* args) noexcept {
  alignas(64) int32_t out[256];
  configure_tiles(0, 16);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t i = 0; i < args->iterations; ++i) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(0, out, 64);
  _tile_release();
  args->sink = static_cast<uint64_t>(out[0]);
  args->operations = args->iterations * 4 * 16 * 16 * 64 * 2;
}

void limit_amx_bf16__amx(LimitArgs* args) noexcept {
  alignas(64) int32_t out[256];
  configure_tiles(0, 16);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t i = 0; i < args->iterations; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, out, 64);
  _tile_release();
  args->sink = static_cast<uint64_t>(out[0]);
  args->operations = args->iterations * 4 * 16 * 16 * 32 * 2;
}

}  // namespace nbl::kernels
