// Scales that are quantized themselves. K-quants, nested absmax, SpQR and block FP8 keep one number for many scales and a
// small code for each. Segment::scales (or zeros) hold what these parts expand to, so that kernels and dequantization need not
// know; files keep the parts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "tensor/dtype.h"
#include "tensor/storage.h"

namespace nbl {

/// The value of the scale of (row, group), rounding for rounding in float32:
///
///   fl(fl(s * c) + a)   s the super-scale of its block; c = code - offset, or table[code], or 1 when there are no codes;
///                       a the block's addend, else `shift`. Nothing is added when there are no addends and shift is 0.
///
/// A block covers `rows` rows and `groups` groups; with rows 0, a run of `groups` values of the row-major [n, groups] array.
struct ScaleCodes {
  int bits = 0;    ///< of a code, 0 to 8; 0: none
  int offset = 0;  ///< taken from every code
  float shift = 0;
  int64_t rows = 1, groups = 1;
  DType super_type = DType::f16;  ///< f32, f16, bf16, of super-scales and addends
  Storage codes;    ///< [n * groups] codes as one little-endian bit stream, row-major
  Storage supers;   ///< [blocks down, blocks across]
  Storage addends;  ///< the same shape, or empty
  Storage table;    ///< f32 [2^bits], or empty

  int64_t block_count(int64_t n, int64_t group_count) const noexcept;
  int64_t code_bytes(int64_t n, int64_t group_count) const noexcept;
  int64_t super_bytes(int64_t n, int64_t group_count) const noexcept;
  int64_t table_bytes() const noexcept { return int64_t{4} << bits; }
  /// Bits of codes, super-scales and addends; a table is a constant of its format and not counted, like a codebook's.
  int64_t stored_bits(int64_t n, int64_t group_count) const noexcept;
  /// Sizes and kinds, so that expand() is safe. `what` goes into the message.
  Status validate(int64_t n, int64_t group_count, const std::string& what) const;
  /// All values, row-major [n, group_count]. The parts must be valid.
  std::vector<float> expand(int64_t n, int64_t group_count) const;
  uint32_t code_at(int64_t index) const noexcept;
};

/// What make_scale_codes() needs besides ScaleCodes' numbers.
struct ScaleCodeParts {
  std::span<const uint8_t> codes;   ///< [n, groups], empty when bits is 0
  std::span<const float> supers;    ///< [blocks]; representable in super_type
  std::span<const float> addends;   ///< [blocks] or empty
  std::span<const float> table;     ///< [2^bits] or empty
};
/// Packs the parts; `form` gives the numbers. Fails when sizes do not agree.
Result<ScaleCodes> make_scale_codes(int64_t n, int64_t group_count, ScaleCodes form, const ScaleCodeParts& parts);

}  // namespace nbl
