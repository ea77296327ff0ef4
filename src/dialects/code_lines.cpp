#include "dialects/code_lines.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/checked.h"

namespace nbl::dialects {
namespace {

// Four neighbouring fields of w bits, from the lowest on, as the low bits of four bytes.
template <int w>
constexpr uint32_t spread(uint32_t x) noexcept {
  constexpr uint32_t kField = (1u << w) - 1u;
  if constexpr (w == 8) return x;
  const uint32_t pairs = (x & (kField | kField << w)) | (x & (kField << 2 * w | kField << 3 * w)) << (16 - 2 * w);
  return (pairs & (kField | kField << 16)) | (pairs & (kField << w | kField << (w + 16))) << (8 - w);
}

// Four fields of w bits that start at bit `bit`, of all rows, into the bytes of `line` from `shift` on.
template <int w>
void take_quad(const WordLine* words, int64_t bit, int shift, uint32_t* __restrict line) noexcept {
  const uint32_t* low = words[bit / 32].data();
  const auto offset = static_cast<int>(bit % 32);
  if (offset + 4 * w <= 32) {
    for (int64_t r = 0; r < kTileRows; ++r) line[r] |= spread<w>(low[r] >> offset) << shift;
  } else {
    const uint32_t* high = words[bit / 32 + 1].data();
    for (int64_t r = 0; r < kTileRows; ++r) line[r] |= spread<w>(low[r] >> offset | high[r] << (32 - offset)) << shift;
  }
}

// The eight lines of 32 codes of w bits, one stream of bits, out of w words. Where each four lie in them is known when this is compiled.
template <int w, int quad>
void put_quad(const WordLine* words, uint32_t* __restrict line) noexcept {
  constexpr int kBit = 4 * w * quad, kOffset = kBit % 32;
  const uint32_t* low = words[kBit / 32].data();
  if constexpr (kOffset + 4 * w <= 32) {
    for (int64_t r = 0; r < kTileRows; ++r) line[r] = spread<w>(low[r] >> kOffset);
  } else {
    const uint32_t* high = words[kBit / 32 + 1].data();
    for (int64_t r = 0; r < kTileRows; ++r) line[r] = spread<w>(low[r] >> kOffset | high[r] << (32 - kOffset));
  }
}

template <int w, int... quads>
void put_quads(const WordLine* words, uint32_t (*lines)[kTileRows], std::integer_sequence<int, quads...>) noexcept {
  (put_quad<w, quads>(words, lines[quads]), ...);
}

// Both halves of a tile.
template <int w>
void put_stream(const WordLine* words, CodeLines* lines) noexcept {
  constexpr auto kQuads = std::make_integer_sequence<int, 8>();
  put_quads<w>(words, lines->words, kQuads);
  put_quads<w>(words + w, lines->words + 8, kQuads);
}

// One field under `mask`, of all rows, into the bits of `line` from `shift` on; `next` holds what does not fit the first word.
void take_field(const uint32_t* first, const uint32_t* next, int offset, uint32_t mask, int shift,
                uint32_t* __restrict line) noexcept {
  if (next == nullptr) {
    for (int64_t r = 0; r < kTileRows; ++r) line[r] |= ((first[r] >> offset) & mask) << shift;
  } else {
    for (int64_t r = 0; r < kTileRows; ++r) line[r] |= ((first[r] >> offset | next[r] << (32 - offset)) & mask) << shift;
  }
}

// The same of four whole fields, one for each byte of `line`.
void take_fields(const uint32_t* const (&first)[4], const int (&offset)[4], uint32_t mask, uint32_t* __restrict line) noexcept {
  const uint32_t *a = first[0], *b = first[1], *c = first[2], *d = first[3];
  const int at[4] = {offset[0], offset[1], offset[2], offset[3]};
  for (int64_t r = 0; r < kTileRows; ++r) {
    line[r] = ((a[r] >> at[0]) & mask) | ((b[r] >> at[1]) & mask) << 8 | ((c[r] >> at[2]) & mask) << 16 | ((d[r] >> at[3]) & mask) << 24;
  }
}

void take_quad(int w, const WordLine* words, int64_t bit, int shift, uint32_t* __restrict line) noexcept {
  switch (w) {
    case 1:
      return take_quad<1>(words, bit, shift, line);
    case 2:
      return take_quad<2>(words, bit, shift, line);
    case 3:
      return take_quad<3>(words, bit, shift, line);
    case 4:
      return take_quad<4>(words, bit, shift, line);
    case 5:
      return take_quad<5>(words, bit, shift, line);
    case 6:
      return take_quad<6>(words, bit, shift, line);
    case 7:
      return take_quad<7>(words, bit, shift, line);
    default:
      return take_quad<8>(words, bit, shift, line);
  }
}

// The fields that one code is made of: of plane p, its first bit within a run of 32 codes and its width.
Planes fields_of(int bits, WordOrder order) noexcept {
  return order == WordOrder::planar ? planes_of(bits) : Planes{1, {bits, 0, 0}};
}

}  // namespace

void load_words_of_rows(const std::byte* src, int64_t row_bytes, int64_t rows, int64_t bytes, WordLine* words) noexcept {
  const int64_t whole = bytes / 4;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t w = 0; w < whole; ++w) std::memcpy(&words[w][static_cast<std::size_t>(r)], src + r * row_bytes + 4 * w, 4);
    if (bytes % 4 == 0) continue;
    uint32_t rest = 0;
    std::memcpy(&rest, src + r * row_bytes + 4 * whole, static_cast<std::size_t>(bytes % 4));
    words[whole][static_cast<std::size_t>(r)] = rest;
  }
  for (int64_t w = 0; w < ceil_div(bytes, int64_t{4}); ++w) {
    for (int64_t r = rows; r < kTileRows; ++r) words[w][static_cast<std::size_t>(r)] = 0;
  }
}

void load_words_side_by_side(const std::byte* src, int64_t word_bytes, int64_t rows, int64_t count, WordLine* words) noexcept {
  for (int64_t w = 0; w < count; ++w) {
    if (rows == kTileRows) {
      std::memcpy(words[w].data(), src + w * word_bytes, sizeof(WordLine));
    } else {
      words[w] = {};
      std::memcpy(words[w].data(), src + w * word_bytes, static_cast<std::size_t>(4 * rows));
    }
  }
}

void lines_from_words(int bits, WordOrder order, const WordLine* words, int64_t columns, CodeLines* lines) noexcept {
  if (columns == kTileCols) {
    if (bits == 8) return static_cast<void>(std::memcpy(lines->words, words, sizeof(lines->words)));
    if (bits == 3 && order == WordOrder::stream) return put_stream<3>(words, lines);
    if (bits == 4) return put_stream<4>(words, lines);
    if (bits == 2) return put_stream<2>(words, lines);
  }
  const Planes fields = fields_of(bits, order);
  for (int64_t l = 0; l < kTileCols / 4; ++l) {
    uint32_t* line = lines->words[l];
    std::memset(line, 0, sizeof(WordLine));
    if (4 * l >= columns) continue;
    const int64_t run = l / 8 * 32 * bits;  // planes are those of 32 codes each
    int64_t plane = run;
    int shift = 0;
    for (int p = 0; p < fields.count; ++p) {
      const int w = fields.width[p];
      take_quad(w, words, plane + l % 8 * 4 * w, shift, line);
      plane += int64_t{32} * w;
      shift += w;
    }
    if (columns - 4 * l < 4) {
      const uint32_t mask = (1u << (8 * (columns - 4 * l))) - 1u;
      for (int64_t r = 0; r < kTileRows; ++r) line[r] &= mask;
    }
  }
}

void lines_of_columns(int bits, WordOrder order, const WordLine* words, const int32_t* which, int64_t columns,
                      CodeLines* lines) noexcept {
  const Planes fields = fields_of(bits, order);
  std::memset(lines, 0, sizeof(CodeLines));
  int64_t begin = 0;
  if (32 % bits == 0) {  // in both orders
    for (; begin + 4 <= columns; begin += 4) {
      const uint32_t* first[4];
      int offset[4];
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t bit = int64_t{which[begin + i]} * bits;
        first[i] = words[bit / 32].data();
        offset[i] = static_cast<int>(bit % 32);
      }
      take_fields(first, offset, (1u << bits) - 1u, lines->words[begin / 4]);
    }
  }
  for (int64_t p = begin; p < columns; ++p) {
    uint32_t* line = lines->words[p / 4];
    const int64_t column = which[p];
    int64_t plane = column / 32 * 32 * bits;
    auto shift = static_cast<int>(8 * (p % 4));
    for (int f = 0; f < fields.count; ++f) {
      const int w = fields.width[f];
      const int64_t bit = plane + column % 32 * w;
      const uint32_t* next = bit % 32 + w > 32 ? words[bit / 32 + 1].data() : nullptr;
      take_field(words[bit / 32].data(), next, static_cast<int>(bit % 32), (1u << w) - 1u, shift, line);
      plane += int64_t{32} * w;
      shift += w;
    }
  }
}

void gather_elements(int64_t bytes, const std::byte* src, int64_t stride, int64_t count, std::byte* out) noexcept {
  if (bytes == 2) {
    for (int64_t r = 0; r < count; ++r) std::memcpy(out + 2 * r, src + r * stride, 2);
  } else {
    for (int64_t r = 0; r < count; ++r) std::memcpy(out + 4 * r, src + r * stride, 4);
  }
}

}  // namespace nbl::dialects
