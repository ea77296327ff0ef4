// What a kernel knows of one segment of a weight: raw pointers into the tiles that src/tensor/qtensor.h describes.
#pragma once

#include <cstdint>

namespace nbl::kernels {

enum class WeightKind : int32_t { affine = 0, codebook = 1, dense = 2, trellis = 3 };
enum class ZeroPoint : int32_t { symmetric = 0, code = 1, minimum = 2, real = 3 };
enum class Number : int32_t { f32 = 0, f16 = 1, bf16 = 2, e4m3 = 3, e8m0 = 4 };

constexpr int64_t number_bytes(Number type) noexcept {
  return type == Number::f32 ? 4 : type == Number::f16 || type == Number::bf16 ? 2 : 1;
}

/// Tile geometry (drawn in src/tensor/qtensor.h): 16 rows x 64 columns.
inline constexpr int64_t kRows = 16;
inline constexpr int64_t kCols = 64;

/// Numbers kept as a byte each and one float for several groups: fl(super * (byte - offset)). K-quants have such scales.
struct NumberCodes {
  const float* supers = nullptr;  ///< [row tile][group >> group_bits][16]; null: numbers are stored as they are
  int32_t group_bits = 0;         ///< 2^group_bits groups, whole ones of a row, share a super
  float offset = 0;
};

/// Plain data; no pointer needs an alignment. Nothing beyond the arrays' exact sizes is ever read.
struct SegmentView {
  const uint8_t* codes = nullptr;  ///< [row tile][column tile][128 * bits], dense [row tile][column tile][1024 * bytes]
  const uint8_t* scales = nullptr;  ///< [row tile][group][16] of scale_type
  const uint8_t* zeros = nullptr;   ///< [row tile][group][2 * bits bytes] or [16] of zero_type; null when symmetric
  int64_t k_count = 0;              ///< columns
  int64_t column_tiles = 0;         ///< ceil(k_count / 64)
  int64_t groups = 1;               ///< a row
  int64_t group_size = 0;           ///< columns a group, a multiple of 16, never 0: one group has column_tiles * 64
  WeightKind kind = WeightKind::dense;
  int32_t bits = 0;  ///< affine 1..8, codebook 4, trellis 1..4 (trellis.h)
  ZeroPoint zero = ZeroPoint::symmetric;
  Number scale_type = Number::f32;
  Number zero_type = Number::f32;
  Number value_type = Number::f32;  ///< of dense
  NumberCodes scale_codes, zero_codes;  ///< `scales`, or minimums and real zeros, hold [row tile][group][16] bytes
  float table[16] = {};             ///< of codebook and trellis
  int8_t table_i8[16] = {};         ///< the table times 1 / table_step, rounded: what integer kernels multiply with
  float table_step = 1.0f;          ///< table[i] is about table_i8[i] * table_step

  bool has_table() const noexcept { return kind == WeightKind::codebook || kind == WeightKind::trellis; }
  int64_t tile_code_bytes() const noexcept {
    return kind == WeightKind::dense ? 1024 * number_bytes(value_type) : 128 * bits;
  }
  int64_t scale_group_bytes() const noexcept {
    return scale_codes.supers != nullptr ? 16 : 16 * number_bytes(scale_type);
  }
  int64_t zero_group_bytes() const noexcept {
    if (zero_codes.supers != nullptr) return 16;
    return zero == ZeroPoint::code ? 2 * bits : zero == ZeroPoint::symmetric ? 0 : 16 * number_bytes(zero_type);
  }
};

}  // namespace nbl::kernels
