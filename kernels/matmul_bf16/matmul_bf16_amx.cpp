#include "kernels/matmul_bf16/matmul_bf16.h"
#include "kernels/simd/amx_tiles.h"
#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_avx512.inl"
#include "kernels/simd/unpack.inl"
#include "kernels/matmul_bf16/matmul_bf16.inl"
// clang-format on

// Tiles as in qmatmul_int8_tiles.inl: 0-3 sums, 4 and 5 activations, 6 and 7 weights; 2, 3 and 5 are as short as the
// last rows.
struct TileBlock {
  template <int NT, bool LOW>
  static NBL_NOINLINE void rows(const uint8_t* const* panel, const uint16_t* x, int64_t x_stride, int64_t columns,
                                bool first, float* sums) {
    constexpr int64_t kStride = NT * 64;  // bytes from one activation row's sums to the next's
    float* high = sums + (LOW ? 16 * NT * kRows : 0);
    if (first) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    } else {
      if constexpr (LOW) {
        _tile_loadd(0, sums, kStride);
        if constexpr (NT == 2) _tile_loadd(1, sums + kRows, kStride);
      }
      _tile_loadd(2, high, kStride);
      if constexpr (NT == 2) _tile_loadd(3, high + kRows, kStride);
    }
    for (int64_t k = 0; k < columns; k += 32, x += x_stride) {
      _tile_loadd(6, panel[0] + k * 32, 64);
      if constexpr (LOW) {
        _tile_loadd(4, x, 64);
        _tile_dpbf16ps(0, 4, 6);
      }
      if constexpr (NT == 2) {
        _tile_loadd(7, panel[1] + k * 32, 64);
        if constexpr (LOW) _tile_dpbf16ps(1, 4, 7);
      }
      _tile_loadd(5, x + (LOW ? 16 * 32 : 0), 64);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (NT == 2) _tile_dpbf16ps(3, 5, 7);
      NBL_EACH (r, 32) __builtin_prefetch(x + x_stride + r * 32);
    }
    if constexpr (LOW) {
      _tile_stored(0, sums, kStride);
      if constexpr (NT == 2) _tile_stored(1, sums + kRows, kStride);
    }
    _tile_stored(2, high, kStride);
    if constexpr (NT == 2) _tile_stored(3, high + kRows, kStride);
  }

  static NBL_INLINE void configure(int64_t last) { configure_tiles(1 << 2 | 1 << 3 | 1 << 5, static_cast<int>(last)); }

  template <int NT>
  void columns(const MatmulBf16Args& a, const uint8_t* const* panel, int64_t k0, int64_t columns, int64_t i0,
               int64_t i1, float* sums) const {
    const int64_t stride = a.m * 32;
    const uint16_t* x = a.x + k0 / 32 * stride;
    const bool first = k0 == 0;
    int64_t i = i0;
    const auto at = [&](int64_t row) { return sums + (row - i0) * NT * kRows; };
    if (i + 32 <= i1) configure(16);
    for (; i + 32 <= i1; i += 32) rows<NT, true>(panel, x + i * 32, stride, columns, first, at(i));
    if (i < i1) {
      const int64_t left = i1 - i;
      configure(left > 16 ? left - 16 : left);
      if (left > 16)
        rows<NT, true>(panel, x + i * 32, stride, columns, first, at(i));
      else
        rows<NT, false>(panel, x + i * 32, stride, columns, first, at(i));
    }
  }
};
}  // namespace

void matmul_bf16__amx(const MatmulBf16Args* args) noexcept {
  matmul_bf16_body(*args, TileBlock());
  _tile_release();
}

}  // namespace nbl::kernels
