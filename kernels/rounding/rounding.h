// Rounding of weights to the codes of a grid or a table, the way back, and what is found out about weights on the way. All arrays are contiguous, of
// any alignment; nothing beyond the n elements is read or written. Every variant does the same operations, nothing fused: all give the
// same bytes. "Rounded" is to the nearest integer, ties to even.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace nbl::kernels {

/// Four-bit codes: the entry of a table that is nearest to x = w / scale, as bitsandbytes finds it: w times the scale's reciprocal
/// where that is finite, the number of boundaries below x is a place, order[place] the code. Where x is no number the place is 0.
struct TableCodesArgs {
  const float* w;
  int64_t n;
  float scale;              ///< not negative; 0 only where all of w are
  const float* boundaries;  ///< [19]: fifteen, ascending, and four numbers that decide nothing
  const float* order;       ///< [16], codes as numbers
  uint8_t* codes;           ///< [n]
};

struct RoundingKernels {
  const char* name;
  Isa isa;

  /// Whether no element is infinite or NaN.
  bool (*finite)(const float* w, int64_t n);
  /// The least and the greatest of 0 and all elements; NaNs are passed over.
  void (*extent)(const float* w, int64_t n, float* low, float* high);
  /// round(min(max(w / scale + zero, 0), max_code)), max_code <= 255; a NaN becomes 0.
  void (*affine_codes)(const float* w, int64_t n, float scale, float zero, float max_code, uint8_t* codes);
  /// 128 + round(w * factor), whose magnitude is below 127.5.
  void (*centered_codes)(const float* w, int64_t n, float factor, uint8_t* codes);
  void (*table_codes)(const TableCodesArgs& args);
  /// The e4m3 number nearest to w / scale, beyond 448 the one of 448; 0x7f for a NaN. scale > 0.
  void (*e4m3_codes)(const float* w, int64_t n, float scale, uint8_t* codes);
  /// Adds the sums of h (w - v)^2 and of h w^2, h the importance or 1 where that is null. Runs of 1,024 elements are summed in sixteen
  /// lanes of float32, lane j elements j, j + 16, ..., and the lanes added in their order.
  void (*squared_error)(const float* w, const float* v, const float* importance, int64_t n, double* error, double* reference);
  /// bfloat16 to float32, exact. x may lie at any address.
  void (*widen_bf16)(const void* x, int64_t n, float* out);
  /// The same of e4m3.
  void (*widen_e4m3)(const uint8_t* codes, int64_t n, float* out);
  /// scale * table[code] of codes below 16.
  void (*table_values)(const uint8_t* codes, int64_t n, float scale, const float* table, float* out);
  /// scale * (code - zero).
  void (*affine_values)(const uint8_t* codes, int64_t n, float scale, float zero, float* out);
  /// scale * code + minimum.
  void (*minimum_values)(const uint8_t* codes, int64_t n, float scale, float minimum, float* out);
};

/// All that were compiled in, best first; the scalar one is last and runs everywhere.
const RoundingKernels* rounding_variants(int* count) noexcept;
/// The best that runs on `isa`.
const RoundingKernels& rounding_kernels(Isa isa) noexcept;

}  // namespace nbl::kernels
