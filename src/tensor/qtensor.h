// QTensor: the one weight representation. Every quantized weight of the ecosystem is expressed with these parts; methods
// produce it, dialects translate it, kernels execute it.
//
// A QTensor is a matrix [n output rows, k input columns]. Its columns, in *packed order*, are cut into segments; each
// segment has one encoding. Its value is defined by dequantize_row(), rounding for rounding, in float32:
//
//   affine, symmetric   w = s * (q - 2^(bits-1))          affine, code zero   w = s * (q - z)
//   affine, minimum     w = fl(fl(s * q) + m)             affine, real zero   w = fl(s * fl(q - z))
//   codebook            w = fl(s * table[q])              dense               w = the stored value
//   trellis             w = fl(s * value(q))              dense, scaled       w = fl(s * the stored value)
//
// (q code, s scale, z zero point, m minimum, each taken exactly to float32 first). Outliers, if any, are added:
// w[r, c] = fl(w[r, c] + o[r, c]). The product of the layer with an activation x [k] is
// y[r] = sum_c w[r, c] * x'[c], x'[c] = x[c] * input_scale[c] (input_scale 1 when absent), rounded by input_rounding when there
// is one.
//
// Memory layout ("tiles"; the same on disk, in memory and in the kernels, for every instruction set)
// - Rows are taken 16 at a time, a *row tile*; a segment's columns 64 at a time, a *column tile*. Missing rows and columns
//   of the last tiles hold code 0 (affine, codebook), path and free bits 0 (trellis) or zero bytes (dense).
// - Codes: [row tile][column tile][128 * bits bytes]. Within a tile, codes of 8 bits lie as [k/4: 16][row: 16][k%4: 4].
//   A plane of w bits (1, 2, 4) takes 128 * w bytes: with k' = k % (8w), its byte [k' / 4][row][k' % 4] holds the fields of
//   the columns k', k' + 8w, k' + 16w, ...: column k's field starts at bit w * (k / (8w)). So with 4 bits the low nibbles
//   are columns 0-31 and the high nibbles columns 32-63.
// - Odd widths are planes one after the other within the tile, low bits first: 3 = 2+1, 5 = 4+1, 6 = 4+2, 7 = 4+2+1.
// - Trellis, b bits: a plane of path bits, then b - 1 free bits a column, 3 as 2+1. A code has b + 1 bits, the upper ones free, the
//   two lowest labels that the path bits of the row's tile give (kernels/simd/trellis.h).
// - Dense: [row tile][column unit][row: 16][e], with e = 4 / sizeof(element) columns a unit, so every unit is a line of 64
//   bytes; columns padded to a multiple of 64.
// - Scales: [row tile][group][row: 16] of scale_type. Zeros of kind code: [row tile][group][2 * bits bytes]: the 16 rows'
//   zero codes as one little-endian bit stream, row r at bit r * bits. Zeros of kind minimum or real:
//   [row tile][group][16] of zero_type. Scales and minimums of missing rows are 0.
// - Each of the three arrays is padded with zeros to a whole number of 64-byte lines at its end.
// A group is group_size consecutive columns (packed order) of a segment; the last may be short. group_size is a multiple of
// 16, or 0: one group for the whole segment.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "tensor/dtype.h"
#include "tensor/scale_codes.h"
#include "tensor/storage.h"

namespace nbl {

inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kTileCols = 64;

enum class Encoding : uint8_t { affine = 0, codebook = 1, dense = 2, trellis = 3 };
enum class ZeroKind : uint8_t { symmetric = 0, code = 1, minimum = 2, real = 3 };

/// A run of columns with one encoding.
struct Segment {
  int64_t k_begin = 0;  ///< first column, packed order; a multiple of 64
  int64_t k_count = 0;  ///< columns; a multiple of 64 but for the last segment

  Encoding encoding = Encoding::dense;
  int bits = 0;            ///< a weight: affine 1..8, codebook 4, trellis 1..4; 0 for dense
  int64_t group_size = 0;  ///< multiple of 16; 0 = one group for the segment
  DType scale_type = DType::f16;  ///< f32, f16, bf16, e8m0; of dense only when scaled
  ZeroKind zero_kind = ZeroKind::symmetric;
  DType zero_type = DType::f16;   ///< of minimum and real zeros: f32, f16, bf16
  DType value_type = DType::f32;  ///< of dense: f32, f16, bf16, e4m3
  bool scaled = false;            ///< of dense: groups have scales (FP8)
  std::array<float, 16> table{};  ///< of codebook and trellis (what its codes mean: kernels::trellis_value)

  Storage codes;
  Storage scales;
  Storage zeros;
  /// How a file keeps the scales, the minimums or real zeros, when not as they are: `scales` and `zeros` (then f32) are what
  /// these expand to.
  std::optional<ScaleCodes> scale_codes, zero_codes;

  int code_bits() const noexcept { return encoding == Encoding::trellis ? bits + 1 : bits; }
  bool has_table() const noexcept { return encoding == Encoding::codebook || encoding == Encoding::trellis; }
  int64_t groups() const noexcept;          ///< groups a row (0 for dense without scales)
  int64_t column_tiles() const noexcept;
  /// Exact sizes of the three arrays for n rows, padding to 64-byte lines included.
  int64_t code_bytes(int64_t n) const noexcept;
  int64_t scale_bytes(int64_t n) const noexcept;
  int64_t zero_bytes(int64_t n) const noexcept;
};

/// Sparse additions in compressed rows, columns in original order, ascending within a row.
struct Outliers {
  Storage row_offsets;  ///< i32 [n + 1]
  Storage columns;      ///< i32 [count]
  Storage values;       ///< f16 [count]
  int64_t count = 0;
};

/// How an activation is rounded before it is multiplied, token by token (W8A8). s is `scale`, or where that is 0 the token's
/// largest magnitude over the type's largest value (int8 127, e4m3 448):
///   int8   x' = fl(s * clamp(round(x / s), -127, 127)), ties to even      e4m3   x' = fl(s * e4m3(x / s)), saturating
/// With a threshold, elements of at least that magnitude are rounded to f16 instead and do not count for s (LLM.int8).
struct InputRounding {
  enum class Type : uint8_t { int8 = 0, e4m3 = 1 };
  Type type = Type::int8;
  float scale = 0;
  float threshold = 0;  ///< 0: none
  bool operator==(const InputRounding&) const = default;
  /// Rounds k activations in place. NaN stays NaN.
  void apply(float* x, int64_t k) const noexcept;
};

struct QTensor {
  int64_t n = 0;
  int64_t k = 0;
  std::vector<Segment> segments;
  Storage column_order;  ///< i32 [k] or empty: packed column p holds original column column_order[p]
  Storage input_scale;   ///< f32 [k] or empty, original order: multiplies the activation
  std::optional<Outliers> outliers;
  std::optional<InputRounding> input_rounding;

  /// Everything a kernel relies on: sizes, alignments, bounds, a permutation that is one, finite scales. `name` goes into
  /// the message. A QTensor that came from a file must pass this before it is used.
  Status validate(const std::string& name) const;
  /// The part of validate() that memory safety needs: everything but the values. Its cost does not grow with the codes and
  /// scales, so that a mapped file opens in no time.
  Status validate_structure(const std::string& name) const;

  /// The definition. Writes k floats in original column order. `row` in [0, n). Input scale not included.
  void dequantize_row(int64_t row, float* out) const;
  /// The same without allocating: `scratch` is row_scratch_bytes() bytes, aligned for floats.
  void dequantize_row(int64_t row, float* out, std::byte* scratch) const noexcept;
  int64_t row_scratch_bytes() const noexcept;

  /// The codes of one row, packed order, one byte each, below 2^Segment::code_bits() (dense columns give 0).
  void unpack_row_codes(int64_t row, uint8_t* out) const;

  /// Stored bytes: codes, scales, zeros, order, input scale, outliers; without the padding to whole tiles and lines, so that
  /// it is the size that the numbers themselves need.
  int64_t stored_bytes() const noexcept;
  /// 8 * stored_bytes / (n * k).
  double bits_per_weight() const noexcept;
  /// "affine 4 bit g128 f16 asym", for tables.
  std::string description() const;
};

/// Row-major input to pack_affine: what a quantization method computes.
struct AffineParts {
  int bits = 4;
  int64_t group_size = 0;
  std::span<const uint8_t> codes;   ///< [n, k], packed column order
  std::span<const float> scales;    ///< [n, groups]
  DType scale_type = DType::f16;    ///< stored so; values must be representable (round before choosing codes)
  ZeroKind zero_kind = ZeroKind::symmetric;
  std::span<const float> zeros;     ///< [n, groups] zero codes, minimums or real zeros; empty when symmetric
  DType zero_type = DType::f16;
};
Result<Segment> pack_affine(int64_t n, int64_t k, const AffineParts& parts);

struct CodebookParts {
  int64_t group_size = 64;
  std::array<float, 16> table{};
  std::span<const uint8_t> codes;  ///< [n, k]
  std::span<const float> scales;   ///< [n, groups]
  DType scale_type = DType::f32;
};
Result<Segment> pack_codebook(int64_t n, int64_t k, const CodebookParts& parts);

struct TrellisParts {
  int bits = 3;                      ///< stored a weight
  int64_t group_size = 64;
  std::array<float, 16> table{};     ///< kernels::trellis_value() says what a code means by it
  std::span<const uint8_t> codes;    ///< [n, k] of bits + 1 bits; each row's 64 columns of a tile a path
  std::span<const float> scales;     ///< [n, groups]
  DType scale_type = DType::f16;
};
Result<Segment> pack_trellis(int64_t n, int64_t k, const TrellisParts& parts);

/// Dense from row-major [n, k] elements of `type` at `src` (any alignment), stored as `type`.
Result<Segment> pack_dense(int64_t n, int64_t k, DType type, const void* src);

/// The same with one scale a group: w = scale * value. scales [n, groups].
Result<Segment> pack_scaled_dense(int64_t n, int64_t k, DType type, const void* src, int64_t group_size,
                                  std::span<const float> scales, DType scale_type);

/// Makes `codes` what the scales (or minimums, real zeros) of the segment are stored as, and fills the segment's array with what
/// they expand to, as f32. pack_*() may have been given any numbers in their place.
Status set_scale_codes(int64_t n, ScaleCodes codes, Segment* segment);
Status set_zero_codes(int64_t n, ScaleCodes codes, Segment* segment);

/// A dense f32 segment of the same values as a scaled dense one.
Result<Segment> without_scales(int64_t n, const Segment& segment);

/// A QTensor of one segment over all columns.
QTensor make_qtensor(int64_t n, int64_t k, Segment segment);

}  // namespace nbl
