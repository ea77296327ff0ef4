// GGUF's block types as QTensors: the same codes and the same numbers, in tiles.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "base/status.h"
#include "io/container.h"
#include "tensor/qtensor.h"
#include "tensor/tiles.h"

namespace nbl::dialects {

/// Which row of the file becomes row `row` of the result.
using RowMap = std::function<int64_t(int64_t row)>;

/// How a block type is expressed, and the decoding of one block.
struct GgufBlock {
  std::string_view type;
  Encoding encoding;
  int bits;
  int64_t group;  ///< elements sharing a scale
  DType scale_type;
  ZeroKind zero_kind;
  DType zero_type;
  const float* table;  ///< 16 entries, for codebooks
  /// Writes a block's codes, its scales and (when zero_kind asks for them) its zeros. Null where `lines` takes its place.
  void (*decode)(const uint8_t* block, uint8_t* codes, float* scales, float* zeros);
  /// The codes of up to 16 rows' columns from 64 * column_tile on as lines (what is missing is 0), without a row-major copy. Of the K
  /// types, and of blocks that begin with their one scale, then their minimum if they have one, both as the segment keeps them. Null
  /// for the others.
  void (*lines)(const uint8_t* const* rows, int64_t row_count, int64_t blocks, int64_t column_tile, CodeLines* out) = nullptr;
};

/// The K types' scales are codes times one number a block: how they are kept.
struct GgufSubScales {
  std::string_view type;
  int scale_bits, scale_offset;
  int zero_bits;  ///< 0: no minimums
  /// Writes a block's scale codes and minimum codes, its super-scale and the (negative) super-scale of its minimums.
  void (*codes)(const uint8_t* block, uint8_t* scale, uint8_t* zero, float* super, float* zero_super);
};

/// Null when the type has no expression (activation-only types).
const GgufBlock* gguf_block(std::string_view type) noexcept;

/// A 2-D tensor of a block type or of F32, F16, BF16, F64. `rows` may be empty: as they lie.
Result<QTensor> gguf_matrix(const io::RawTensor& tensor, const RowMap& rows);
/// What gguf_matrix() would give, without reading the weights: description and bits in the file.
std::string gguf_description(const io::RawTensor& tensor);

}  // namespace nbl::dialects
