// Family prepare_input: one activation row made ready for a product: columns put in packed order, multiplied by the
// input scale, and kept as float32, rounded to bfloat16 (to nearest even) or quantized to int8, symmetric, with a scale
// for each `step` columns, or several of these:
//
//   v[p] = x[order[p]] * scale[order[p]]            (order: identity when null; scale: 1 when null)
//   d    = max|v| / 127 over the step               X[p] = round_to_nearest_even(v[p] * (127 / max|v|))
//
// and, where asked for, what that leaves over as a second plane of int8, which makes 15 or 16 bits of the two:
//
//   X2[p] = round_to_nearest_even((v[p] * (127 / max|v|) - X[p]) * 254)             v ~ d X + d / 254 X2
//
// A step whose largest magnitude is below 1e-35 becomes zeros with d = 0. A NaN or an infinity makes d that value and X
// zero, so that products come out NaN instead of a plausible number. Every variant gives the same bytes.
//
//   q: [column / 64][m][64] int8    bf16: [column / 32][m][32]    d, sums, dsums: [step][m] floats    f32: [column]
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace nbl::kernels {

struct PrepareInputArgs {
  const float* x = nullptr;        ///< one row, k columns in original order
  const int32_t* order = nullptr;  ///< [k] or null
  const float* scale = nullptr;    ///< [k] or null, original order
  int64_t k = 0;
  int64_t begin = 0,
          end = 0;       ///< packed columns to prepare: multiples of 128, or end = k rounded up to 64; beyond k: zeros
  float* f32 = nullptr;  ///< floats [end - of all], indexed by packed column; or null
  uint16_t* bf16 = nullptr;  ///< this row's 64 bytes of columns 0-31; or null
  int64_t bf16_stride = 0;   ///< elements from 32 columns to the next 32
  int8_t* q = nullptr;       ///< this row's 64 bytes of column tile 0; or null
  int64_t q_stride = 0;      ///< bytes from one column tile's to the next's
  int64_t step = 0;          ///< 16, 32, 64 or 128
  float* d = nullptr;        ///< this row's entry of step 0
  float* sums = nullptr;     ///< float(sum X)
  float* dsums = nullptr;    ///< d * float(sum X)
  int64_t d_stride = 0;      ///< floats from one step's to the next's
  int64_t low_plane = 0;     ///< bytes from q to the second plane's q, a whole number of floats; 0: there is none
  int64_t low_scales = 0;    ///< floats from d, sums and dsums to the second plane's
};

using PrepareInputFn = void (*)(const PrepareInputArgs*) noexcept;

struct PrepareInputVariant {
  Isa isa;
  const char* name;
  PrepareInputFn run;
};

const PrepareInputVariant* prepare_input_variants(int* count) noexcept;
const PrepareInputVariant& select_prepare_input(Isa cap) noexcept;

}  // namespace nbl::kernels
