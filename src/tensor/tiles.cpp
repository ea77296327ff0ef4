#include "tensor/tiles.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"

namespace nbl {
namespace {

constexpr int64_t kWords = 16;  // 32-bit words in a line, and in a row of 64 one-byte codes

using Block = uint32_t[kTileRows][kWords];

// The fields of w bits at `shift` of every code in the block, as one plane. The codes of a word are four neighbouring
// columns; the plane's word j gathers the words j, j + 2w, j + 4w, ... of the row.
template <int w>
void pack_plane(const Block& block, int shift, std::byte* out) noexcept {
  constexpr int64_t kPlaneWords = 2 * w;
  constexpr uint32_t kMask = 0x01010101u * ((1u << w) - 1u);
  uint32_t lines[kPlaneWords][kTileRows];
  for (int64_t r = 0; r < kTileRows; ++r) {
    for (int64_t j = 0; j < kPlaneWords; ++j) {
      uint32_t word = 0;
      for (int t = 0; t < 8 / w; ++t) word |= ((block[r][j + kPlaneWords * t] >> shift) & kMask) << (w * t);
      lines[j][r] = word;
    }
  }
  std::memcpy(out, lines, sizeof(lines));
}

template <int w>
void unpack_plane(const std::byte* plane, int64_t row, int shift, uint32_t* words) noexcept {
  constexpr int64_t kPlaneWords = 2 * w;
  constexpr uint32_t kMask = 0x01010101u * ((1u << w) - 1u);
  for (int64_t j = 0; j < kPlaneWords; ++j) {
    uint32_t word;
    std::memcpy(&word, plane + (j * kTileRows + row) * 4, 4);
    for (int t = 0; t < 8 / w; ++t) words[j + kPlaneWords * t] |= ((word >> (w * t)) & kMask) << shift;
  }
}

void load_block(Block& block, int64_t rows, int64_t bytes, const std::byte* src, int64_t ld) noexcept {
  if (rows < kTileRows || bytes < 64) std::memset(block, 0, sizeof(Block));
  if (bytes == 64) {
    for (int64_t r = 0; r < rows; ++r) std::memcpy(block[r], src + r * ld, 64);
  } else {
    for (int64_t r = 0; r < rows; ++r) std::memcpy(block[r], src + r * ld, static_cast<std::size_t>(bytes));
  }
}

void store_transposed(const Block& block, int64_t words, std::byte* out) noexcept {
  for (int64_t j = 0; j < words; ++j) {
    uint32_t line[kTileRows];
    for (int64_t r = 0; r < kTileRows; ++r) line[r] = block[r][j];
    std::memcpy(out + j * 64, line, 64);
  }
}

void pack_block(int bits, const Block& block, std::byte* out) noexcept {
  if (bits == 8) return store_transposed(block, kWords, out);
  const Planes planes = planes_of(bits);
  int shift = 0;
  for (int p = 0; p < planes.count; ++p) {
    const int w = planes.width[p];
    if (w == 4) {
      pack_plane<4>(block, shift, out);
    } else if (w == 2) {
      pack_plane<2>(block, shift, out);
    } else {
      pack_plane<1>(block, shift, out);
    }
    out += 128 * w;
    shift += w;
  }
}

// The bits of `code` into a little-endian bit stream that is zero there.
void put_bits(std::byte* stream, int64_t position, int bits, uint32_t code) noexcept {
  for (int done = 0; done < bits;) {
    const int64_t bit = position + done;
    const int offset = static_cast<int>(bit % 8);
    const int take = std::min(8 - offset, bits - done);
    const uint32_t field = (code >> done) & ((1u << take) - 1u);
    stream[bit / 8] |= static_cast<std::byte>(field << offset);
    done += take;
  }
}

}  // namespace

Planes planes_of(int bits) noexcept {
  switch (bits) {
    case 3:
      return {2, {2, 1, 0}};
    case 5:
      return {2, {4, 1, 0}};
    case 6:
      return {2, {4, 2, 0}};
    case 7:
      return {3, {4, 2, 1}};
    default:
      return {1, {bits, 0, 0}};
  }
}

void pack_code_tiles(int bits, int64_t rows, int64_t columns, const uint8_t* codes, int64_t ld,
                     std::byte* out) noexcept {
  const auto* src = reinterpret_cast<const std::byte*>(codes);
  alignas(64) Block block;
  for (int64_t c = 0; c < columns; c += kTileCols) {
    load_block(block, rows, std::min(kTileCols, columns - c), src + c, ld);
    pack_block(bits, block, out);
    out += 128 * bits;
  }
}

void unpack_code_row(int bits, const std::byte* tiles, int64_t row, int64_t columns, uint8_t* codes) noexcept {
  const Planes planes = planes_of(bits);
  for (int64_t c = 0; c < columns; c += kTileCols) {
    uint32_t words[kWords] = {};
    const std::byte* plane = tiles + (c / kTileCols) * 128 * bits;
    int shift = 0;
    for (int p = 0; p < planes.count; ++p) {
      const int w = planes.width[p];
      if (w == 8) {
        unpack_plane<8>(plane, row, shift, words);
      } else if (w == 4) {
        unpack_plane<4>(plane, row, shift, words);
      } else if (w == 2) {
        unpack_plane<2>(plane, row, shift, words);
      } else {
        unpack_plane<1>(plane, row, shift, words);
      }
      plane += 128 * w;
      shift += w;
    }
    std::memcpy(codes + c, words, static_cast<std::size_t>(std::min(kTileCols, columns - c)));
  }
}

void pack_dense_tiles(int64_t element_bytes, int64_t rows, int64_t columns, const std::byte* src, int64_t ld_bytes,
                      std::byte* out) noexcept {
  const int64_t row_bytes = columns * element_bytes;
  const int64_t padded = round_up(columns, kTileCols) * element_bytes;
  alignas(64) Block block;
  for (int64_t b = 0; b < padded; b += 64) {
    load_block(block, rows, std::clamp<int64_t>(row_bytes - b, 0, 64), src + std::min(b, row_bytes), ld_bytes);
    store_transposed(block, kWords, out + b * kTileRows);
  }
}

void unpack_dense_row(int64_t element_bytes, const std::byte* tiles, int64_t row, int64_t columns,
                      std::byte* out) noexcept {
  const int64_t row_bytes = columns * element_bytes;
  for (int64_t b = 0; b < row_bytes; b += 4) {
    std::memcpy(out + b, tiles + (b / 4) * 64 + row * 4, static_cast<std::size_t>(std::min<int64_t>(4, row_bytes - b)));
  }
}

Result<SegmentBuilder> SegmentBuilder::create(int64_t n, const Segment& spec) {
  SegmentBuilder builder;
  builder.n_ = n;
  builder.row_tiles_ = ceil_div(n, kTileRows);
  builder.segment_ = spec;
  builder.groups_ = spec.groups();
  NBL_ASSIGN(builder.codes_, Buffer::create(static_cast<std::size_t>(spec.code_bytes(n))));
  NBL_ASSIGN(builder.scales_, Buffer::create(static_cast<std::size_t>(spec.scale_bytes(n))));
  NBL_ASSIGN(builder.zeros_, Buffer::create(static_cast<std::size_t>(spec.zero_bytes(n))));
  return builder;
}

int64_t SegmentBuilder::rows(int64_t row_tile) const noexcept { return std::min(kTileRows, n_ - row_tile * kTileRows); }

void SegmentBuilder::set_codes(int64_t row_tile, const uint8_t* codes, int64_t ld) noexcept {
  const int64_t tile_bytes = segment_.column_tiles() * 128 * segment_.bits;
  pack_code_tiles(segment_.bits, rows(row_tile), segment_.k_count, codes, ld, codes_.data() + row_tile * tile_bytes);
}

void SegmentBuilder::set_dense(int64_t row_tile, const std::byte* src, int64_t ld_bytes) noexcept {
  const int64_t size = dtype_bytes(segment_.value_type);
  const int64_t tile_bytes = segment_.column_tiles() * kTileCols * size * kTileRows;
  pack_dense_tiles(size, rows(row_tile), segment_.k_count, src, ld_bytes, codes_.data() + row_tile * tile_bytes);
}

std::byte* SegmentBuilder::scales(int64_t row_tile, int64_t group) noexcept {
  return scales_.data() + (row_tile * groups_ + group) * kTileRows * dtype_bytes(segment_.scale_type);
}

std::byte* SegmentBuilder::zeros(int64_t row_tile, int64_t group) noexcept {
  const int64_t size =
      segment_.zero_kind == ZeroKind::code ? 2 * segment_.bits : kTileRows * dtype_bytes(segment_.zero_type);
  return zeros_.data() + (row_tile * groups_ + group) * size;
}

void SegmentBuilder::set_scale(int64_t row, int64_t group, float value) noexcept {
  convert_from_f32(&value, 1, segment_.scale_type,
                   scales(row / kTileRows, group) + (row % kTileRows) * dtype_bytes(segment_.scale_type));
}

void SegmentBuilder::set_zero(int64_t row, int64_t group, float value) noexcept {
  convert_from_f32(&value, 1, segment_.zero_type,
                   zeros(row / kTileRows, group) + (row % kTileRows) * dtype_bytes(segment_.zero_type));
}

void SegmentBuilder::set_zero_code(int64_t row, int64_t group, uint32_t code) noexcept {
  put_bits(zeros(row / kTileRows, group), (row % kTileRows) * segment_.bits, segment_.bits, code);
}

Segment SegmentBuilder::finish() && {
  segment_.codes = Storage::own(std::move(codes_));
  segment_.scales = Storage::own(std::move(scales_));
  segment_.zeros = Storage::own(std::move(zeros_));
  return std::move(segment_);
}

}  // namespace nbl
