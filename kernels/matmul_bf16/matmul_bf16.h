// Family matmul_bf16: y = W x for dense weights and many activation rows, both rounded to bfloat16, products summed in
// float32. For `fast` computing only: where the processor has bfloat16 dot products or matrix tiles.
//
// Error against the exact product: w and x each move by at most 2^-9 of themselves (w not at all when it is bfloat16 or
// E4M3), so at most 2^-8 * sum |w x| besides float32 rounding. The order of additions is the processor's own.
//
// Activations lie as matrix tiles: [column / 32][row][32] of bfloat16, a row's 32 columns being 64 bytes. A line of
// dense 2-byte weights ([16 rows][2 columns], 64 bytes) is 16 lanes of pairs, and 16 lines are a B tile.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/simd/segment_view.h"

namespace nbl::kernels {

struct MatmulBf16Args {
  SegmentView w;                         ///< dense f16, bf16 or e4m3
  int64_t tile_begin = 0, tile_end = 0;  ///< row tiles to compute
  int64_t n = 0;                         ///< rows of the whole matrix
  int64_t m = 0;                         ///< activation rows
  const uint16_t* x = nullptr;           ///< [2 * column_tiles][m][32] bfloat16, zeros beyond k_count
  float* y = nullptr;                    ///< y[i * ldy + row]
  int64_t ldy = 0;
  const float* bias = nullptr;  ///< [n] or null; used when !accumulate
  bool accumulate = false;
};

using MatmulBf16Fn = void (*)(const MatmulBf16Args*) noexcept;

struct MatmulBf16Variant {
  Isa isa;
  const char* name;
  MatmulBf16Fn run;
};

const MatmulBf16Variant* matmul_bf16_variants(int* count) noexcept;
/// Null where only conversions to float32 could do it: qmatmul_exact is as good then.
const MatmulBf16Variant* select_matmul_bf16(Isa cap) noexcept;

}  // namespace nbl::kernels
