// Family qmatmul_exact: y = W x with float32 activations, W dequantized exactly as QTensor defines it.
//
// The order of every addition is fixed, so results are the same bytes for any number of threads, any number of
// activation rows and any instruction set. For one output element, with the segment's columns cut into blocks of 256:
//
//   a_j  = fma over the block's columns k = j, j + 4, j + 8, ...  (ascending, from 0)   j = 0..3
//   y    = y + ((a_0 + a_1) + (a_2 + a_3))                       block after block
//
// starting from y = bias (or 0) in the first segment. Columns up to the next multiple of 16 of k_count take part, with
// x = 0.
//
// How it runs: a panel of 16 or 32 output rows x 256 columns is dequantized once to float32 [column][row] on the stack,
// then multiplied with all activation rows, several at a time in registers:
//
//          16 lanes = 16 output rows
//   k = 0  [ w w w w w w w w w w w w w w w w ]  x  broadcast x[i][0]  -> accumulators of row i
//   k = 4  [ w ...                           ]  ...
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/simd/segment_view.h"

namespace nbl::kernels {

struct QmatmulExactArgs {
  SegmentView w;
  int64_t tile_begin = 0, tile_end = 0;  ///< row tiles to compute
  int64_t n = 0;                         ///< rows of the whole matrix; rows beyond are neither computed into y nor read
  const float* x = nullptr;  ///< [m][ldx], the segment's columns in packed order, zeros up to column_tiles * 64
  int64_t ldx = 0;
  int64_t m = 0;
  float* y = nullptr;  ///< y[i * ldy + row]
  int64_t ldy = 0;
  const float* bias = nullptr;  ///< [n] or null; used when !accumulate
  bool accumulate = false;      ///< add to y (a later segment) instead of starting from bias
};

using QmatmulExactFn = void (*)(const QmatmulExactArgs*) noexcept;

struct QmatmulExactVariant {
  Isa isa;
  const char* name;
  QmatmulExactFn run;
};

inline constexpr int64_t kExactBlock = 256;  ///< columns a partial sum

/// All variants compiled in, best first; the last is the scalar reference.
const QmatmulExactVariant* qmatmul_exact_variants(int* count) noexcept;
/// The best one for `cap` or below that this machine can run.
const QmatmulExactVariant& select_qmatmul_exact(Isa cap) noexcept;

}  // namespace nbl::kernels
