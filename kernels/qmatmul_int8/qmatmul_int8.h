// Family qmatmul_int8: y = W x with activations quantized to int8, symmetric, one scale for each `step` columns of a
// row.
//
// Integer dot products are exact, and the float arithmetic around them has one order, so results are the same bytes
// for any number of threads, any number of activation rows and any instruction set. For one output element, over the
// steps of columns in order (q codes, s scale and z zero of the weight group that a step lies in, d and X the
// activation's scale and int8 values):
//
//   t   = float(sum q * X) - z * float(sum X)        z: the zero code, 2^(bits-1) when symmetric, 0 for minimum and
//   real;
//                                                    one fused multiply-subtract, exact below 2^24
//   acc = fma(t, s * d, acc)
//   acc = fma(m, d * float(sum X), acc)              minimum m; real zero: m = -(s * z); otherwise absent
//
// starting from acc = bias (or 0) in the first segment. A codebook acts as codes table_i8 + 128 with z = 128, s *
// table_step.
//
// Error against the exact product: |X d - x| <= d / 2 with d = max|x| / 127 over the step, so the activation's part is
// at most sum over steps of (max|x| / 254) * sum |w|, plus float32 rounding; a codebook adds table_step / 2 * s * |x| a
// column.
//
// The tile is fed to dot products as it lies: a line of 64 bytes is 16 rows x 4 columns, so
//   acc[16 rows] += dot4(line [row][4], broadcast X[4])
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "kernels/simd/segment_view.h"

namespace nbl::kernels {

struct QmatmulInt8Args {
  SegmentView w;                         ///< affine or codebook
  int64_t tile_begin = 0, tile_end = 0;  ///< row tiles to compute
  int64_t n = 0;                         ///< rows of the whole matrix
  int64_t m = 0;                         ///< activation rows
  const int8_t* x = nullptr;             ///< [column tile][m][64]; -127..127; zeros beyond k_count
  int64_t step = 0;              ///< 16, 32 or a multiple of 64 up to 128; divides group_size unless groups == 1
  const float* d = nullptr;      ///< [step][m] scales
  const float* sums = nullptr;   ///< [step][m] float(sum X)
  const float* dsums = nullptr;  ///< [step][m] d * sums
  float* y = nullptr;            ///< y[i * ldy + row]
  int64_t ldy = 0;
  const float* bias = nullptr;  ///< [n] or null; used when !accumulate
  bool accumulate = false;      ///< the finished sums are added to y; else they begin with bias or 0 and are y
  /// What the caller reads after the last of these tiles: fetched from where fetches would leave them. Null where unknown.
  const uint8_t* next_codes = nullptr;
  const uint8_t* next_scales = nullptr;
  const uint8_t* next_zeros = nullptr;
  /// Activation rows that a register block takes at most: 4 or 8, or 0 for as many as the variant likes. Changes no bit.
  int32_t block_rows = 0;
};

using QmatmulInt8Fn = void (*)(const QmatmulInt8Args*) noexcept;

struct QmatmulInt8Variant {
  Isa isa;
  const char* name;
  QmatmulInt8Fn run;
};

/// All variants compiled in, best first; the last is the scalar reference.
const QmatmulInt8Variant* qmatmul_int8_variants(int* count) noexcept;
const QmatmulInt8Variant& select_qmatmul_int8(Isa cap) noexcept;

}  // namespace nbl::kernels
