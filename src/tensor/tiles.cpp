#include "tensor/tiles.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "kernels/simd/trellis.h"

namespace nbl {
namespace {

constexpr int64_t kWords = 16;  // 32-bit words in a line, and in a row of 64 one-byte codes

using Block = uint32_t[kTileRows][kWords];

// The fields of w bits at `shift` of every code, as one plane: its line j gathers the lines j, j + 2w, j + 4w, ...
template <int w>
void pack_plane(const CodeLines& lines, int shift, std::byte* out) noexcept {
  constexpr int64_t kPlaneLines = 2 * w;
  constexpr uint32_t kMask = 0x01010101u * ((1u << w) - 1u);
  for (int64_t j = 0; j < kPlaneLines; ++j) {
    uint32_t line[kTileRows] = {};
    for (int t = 0; t < 8 / w; ++t) {
      const uint32_t* from = lines.words[j + kPlaneLines * t];
      for (int64_t r = 0; r < kTileRows; ++r) line[r] |= ((from[r] >> shift) & kMask) << (w * t);
    }
    std::memcpy(out + j * 64, line, sizeof(line));
  }
}

uint32_t load_word(const std::byte* plane, int64_t line, int64_t row) noexcept {
  uint32_t word;
  std::memcpy(&word, plane + (line * kTileRows + row) * 4, 4);
  return word;
}

// The fields of line j of a plane of w bits into the codes that they belong to.
template <int w>
void spread_word(uint32_t word, int64_t j, int shift, uint32_t* words) noexcept {
  constexpr uint32_t kMask = 0x01010101u * ((1u << w) - 1u);
  for (int t = 0; t < 8 / w; ++t) words[j + 2 * w * t] |= ((word >> (w * t)) & kMask) << shift;
}

template <int w>
void unpack_plane(const std::byte* plane, int64_t row, int shift, uint32_t* words) noexcept {
  for (int64_t j = 0; j < 2 * w; ++j) spread_word<w>(load_word(plane, j, row), j, shift, words);
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

void transpose(const Block& block, CodeLines& lines) noexcept {
  for (int64_t r = 0; r < kTileRows; ++r) {
    for (int64_t l = 0; l < kWords; ++l) lines.words[l][r] = block[r][l];
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

void pack_code_lines(int bits, const CodeLines& lines, std::byte* out) noexcept {
  const Planes planes = planes_of(bits);
  int shift = 0;
  for (int p = 0; p < planes.count; ++p) {
    const int w = planes.width[p];
    if (w == 8) {
      std::memcpy(out, lines.words, sizeof(lines.words));
    } else if (w == 4) {
      pack_plane<4>(lines, shift, out);
    } else if (w == 2) {
      pack_plane<2>(lines, shift, out);
    } else {
      pack_plane<1>(lines, shift, out);
    }
    out += 128 * w;
    shift += w;
  }
}

void pack_code_tiles(int bits, int64_t rows, int64_t columns, const uint8_t* codes, int64_t ld,
                     std::byte* out) noexcept {
  const auto* src = reinterpret_cast<const std::byte*>(codes);
  alignas(64) Block block;
  CodeLines lines;
  for (int64_t c = 0; c < columns; c += kTileCols) {
    load_block(block, rows, std::min(kTileCols, columns - c), src + c, ld);
    transpose(block, lines);
    pack_code_lines(bits, lines, out);
    out += 128 * bits;
  }
}

bool pack_trellis_tiles(int bits, int64_t rows, int64_t columns, const uint8_t* codes, int64_t ld, std::byte* out) noexcept {
  bool paths = true;
  for (int64_t c = 0; c < columns; c += kTileCols, out += 128 * bits) {
    alignas(64) Block block;
    load_block(block, rows, std::min(kTileCols, columns - c), reinterpret_cast<const std::byte*>(codes) + c, ld);
    uint32_t path[2][kTileRows] = {};
    for (int64_t r = 0; r < rows; ++r) {
      uint32_t state = 0;
      for (int64_t s = 0; s < kernels::kTrellisSteps; ++s) {
        const int64_t column = kernels::trellis_column(s);
        uint32_t u = 0;  // of columns that are not there
        if (c + column < columns) {
          const uint32_t code = codes[r * ld + c + column];
          u = kernels::trellis_bit(state, code >> 1 & 1u);
          paths = paths && (code & 1u) == kernels::trellis_label0(state);
        }
        path[s / 32][r] |= u << (s % 32);
        state = kernels::trellis_next(state, u);
      }
    }
    std::memcpy(out, path, sizeof(path));
    CodeLines lines;
    transpose(block, lines);
    if (bits >= 3) pack_plane<2>(lines, 2, out + 128);
    if (bits == 2) pack_plane<1>(lines, 2, out + 128);
    if (bits == 4) pack_plane<1>(lines, 4, out + 384);
  }
  return paths;
}

void unpack_trellis_row(int bits, const std::byte* tiles, int64_t row, int64_t columns, uint8_t* codes) noexcept {
  for (int64_t c = 0; c < columns; c += kTileCols, tiles += 128 * bits) {
    uint32_t words[kWords] = {};
    const uint64_t path = uint64_t{load_word(tiles, 1, row)} << 32 | load_word(tiles, 0, row);
    const kernels::TrellisLabels labels = kernels::trellis_labels(path);
    for (int64_t j = 0; j < 2; ++j) {
      spread_word<1>(static_cast<uint32_t>(labels.zero >> (32 * j)), j, 0, words);
      spread_word<1>(static_cast<uint32_t>(labels.one >> (32 * j)), j, 1, words);
    }
    if (bits >= 3) unpack_plane<2>(tiles + 128, row, 2, words);
    if (bits == 2) unpack_plane<1>(tiles + 128, row, 2, words);
    if (bits == 4) unpack_plane<1>(tiles + 384, row, 4, words);
    std::memcpy(codes + c, words, static_cast<std::size_t>(std::min(kTileCols, columns - c)));
  }
}

void unpack_code_row(int bits, const std::byte* tiles, int64_t row, int64_t columns, uint8_t* codes) noexcept {
  // Codes of eight bits lie as dense bytes do.
  if (bits == 8) return unpack_dense_row(1, tiles, row, columns, reinterpret_cast<std::byte*>(codes));
  const Planes planes = planes_of(bits);
  for (int64_t c = 0; c < columns; c += kTileCols) {
    uint32_t words[kWords] = {};
    const std::byte* plane = tiles + (c / kTileCols) * 128 * bits;
    int shift = 0;
    for (int p = 0; p < planes.count; ++p) {
      const int w = planes.width[p];
      if (w == 4) {
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
  const int64_t row_bytes = columns * element_bytes, whole = row_bytes / 4;
  const std::byte* from = tiles + row * 4;
  for (int64_t word = 0; word < whole; ++word) std::memcpy(out + 4 * word, from + 64 * word, 4);
  std::memcpy(out + 4 * whole, from + 64 * whole, static_cast<std::size_t>(row_bytes - 4 * whole));
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

bool SegmentBuilder::set_codes(int64_t row_tile, const uint8_t* codes, int64_t ld) noexcept {
  std::byte* out = codes_.data() + row_tile * segment_.column_tiles() * 128 * segment_.bits;
  if (segment_.encoding == Encoding::trellis)
    return pack_trellis_tiles(segment_.bits, rows(row_tile), segment_.k_count, codes, ld, out);
  pack_code_tiles(segment_.bits, rows(row_tile), segment_.k_count, codes, ld, out);
  return true;
}

void SegmentBuilder::set_lines(int64_t row_tile, int64_t column_tile, const CodeLines& lines) noexcept {
  const int64_t tile = row_tile * segment_.column_tiles() + column_tile;
  pack_code_lines(segment_.bits, lines, codes_.data() + tile * 128 * segment_.bits);
}

void SegmentBuilder::set_dense(int64_t row_tile, const std::byte* src, int64_t ld_bytes) noexcept {
  const int64_t size = dtype_bytes(segment_.value_type);
  const int64_t tile_bytes = segment_.column_tiles() * kTileCols * size * kTileRows;
  pack_dense_tiles(size, rows(row_tile), segment_.k_count, src, ld_bytes, codes_.data() + row_tile * tile_bytes);
}

std::byte* SegmentBuilder::scales(int64_t row_tile, int64_t group) noexcept {
  if (scales_.size() == 0) return nullptr;  // an encoding without any: no place in no memory
  return scales_.data() + (row_tile * groups_ + group) * kTileRows * dtype_bytes(segment_.scale_type);
}

std::byte* SegmentBuilder::zeros(int64_t row_tile, int64_t group) noexcept {
  if (zeros_.size() == 0) return nullptr;
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

void SegmentBuilder::set_zero_codes(int64_t row_tile, int64_t group, const uint8_t* codes) noexcept {
  std::byte* out = zeros(row_tile, group);
  const int bits = segment_.bits;
  for (int64_t half = 0; half < 2; ++half) {  // eight codes of b bits are b bytes
    uint64_t stream = 0;
    for (int r = 0; r < 8; ++r) {
      if (half * 8 + r < rows(row_tile)) stream |= uint64_t{codes[half * 8 + r]} << (r * bits);
    }
    for (int b = 0; b < bits; ++b) out[half * bits + b] = static_cast<std::byte>(stream >> (8 * b));
  }
}

Segment SegmentBuilder::finish() && {
  segment_.codes = Storage::own(std::move(codes_));
  segment_.scales = Storage::own(std::move(scales_));
  segment_.zeros = Storage::own(std::move(zeros_));
  return std::move(segment_);
}

}  // namespace nbl
