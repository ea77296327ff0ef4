// The byte work behind QTensor: codes and elements into tiles and back. Used by the packers and by dialects that repack
// a foreign layout without a row-major copy in between.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/qtensor.h"

namespace nbl {

/// The planes of a code of `bits` bits, low bits first: 7 = 4 + 2 + 1.
struct Planes {
  int count = 0;
  int width[3] = {0, 0, 0};
};
Planes planes_of(int bits) noexcept;

/// The codes of 64 columns of a row tile, a byte each: word [l][r] holds row r's columns 4 l to 4 l + 3, the first lowest. It is
/// what dialects whose codes do not lie in rows make, because all rows then go through the same steps side by side.
struct alignas(64) CodeLines {
  uint32_t words[kTileCols / 4][kTileRows];
};

/// One tile of 128 * bits bytes. Codes must be below 2^bits; those of missing rows and columns 0.
void pack_code_lines(int bits, const CodeLines& lines, std::byte* out) noexcept;

/// Packs one row tile: `rows` <= 16 rows of `columns` codes, row r at codes + r * ld, into ceil(columns / 64) tiles of
/// 128 * bits bytes. Missing rows and columns become code 0.
void pack_code_tiles(int bits, int64_t rows, int64_t columns, const uint8_t* codes, int64_t ld,
                     std::byte* out) noexcept;

/// The same for trellis codes of `bits` stored bits: codes of bits + 1 bits that form paths (qtensor.h), into tiles of 128 * bits
/// bytes. False when they do not: then what is written is another path.
bool pack_trellis_tiles(int bits, int64_t rows, int64_t columns, const uint8_t* codes, int64_t ld, std::byte* out) noexcept;
void unpack_trellis_row(int bits, const std::byte* tiles, int64_t row_in_tile, int64_t columns, uint8_t* codes) noexcept;

/// The inverse for one row of a row tile: `columns` codes.
void unpack_code_row(int bits, const std::byte* tiles, int64_t row_in_tile, int64_t columns, uint8_t* codes) noexcept;

/// Dense elements of `element_bytes` (1, 2 or 4) each: `rows` <= 16 rows of `columns`, row r at src + r * ld_bytes.
void pack_dense_tiles(int64_t element_bytes, int64_t rows, int64_t columns, const std::byte* src, int64_t ld_bytes,
                      std::byte* out) noexcept;
void unpack_dense_row(int64_t element_bytes, const std::byte* tiles, int64_t row_in_tile, int64_t columns,
                      std::byte* out) noexcept;

/// Fills a segment's three arrays row tile by row tile; different row tiles may be filled by different threads.
class SegmentBuilder {
 public:
  /// `spec`: everything but the storages; k_count must be set. Arrays start zeroed.
  static Result<SegmentBuilder> create(int64_t n, const Segment& spec);

  int64_t row_tiles() const noexcept { return row_tiles_; }
  /// Rows of this tile that exist: 16 but for the last.
  int64_t rows(int64_t row_tile) const noexcept;

  /// Codes of one row tile, one byte each and below 2^bits; row r at codes + r * ld. Those of a trellis: true when they are paths.
  bool set_codes(int64_t row_tile, const uint8_t* codes, int64_t ld) noexcept;
  /// The codes of one tile.
  void set_lines(int64_t row_tile, int64_t column_tile, const CodeLines& lines) noexcept;
  /// Dense elements of one row tile, row r at src + r * ld_bytes.
  void set_dense(int64_t row_tile, const std::byte* src, int64_t ld_bytes) noexcept;
  /// One scale, one zero; the value is converted to the segment's type (it must be representable).
  void set_scale(int64_t row, int64_t group, float value) noexcept;
  void set_zero(int64_t row, int64_t group, float value) noexcept;
  /// The zero code of (row, group) for ZeroKind::code.
  void set_zero_code(int64_t row, int64_t group, uint32_t code) noexcept;
  /// The zero codes of a row tile's group, one byte each and below 2^bits.
  void set_zero_codes(int64_t row_tile, int64_t group, const uint8_t* codes) noexcept;
  /// The 16 scales (or minimums, real zeros) of a row tile's group, to be written in place; elements of scale_type /
  /// zero_type.
  std::byte* scales(int64_t row_tile, int64_t group) noexcept;
  std::byte* zeros(int64_t row_tile, int64_t group) noexcept;

  const Segment& spec() const noexcept { return segment_; }
  Segment finish() &&;

 private:
  SegmentBuilder() = default;
  int64_t n_ = 0, row_tiles_ = 0, groups_ = 0;
  Segment segment_;
  Buffer codes_, scales_, zeros_;
};

}  // namespace nbl
