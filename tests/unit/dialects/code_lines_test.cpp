// Codes from words into tiles, against taking every code's bits one by one: all widths, both orders, rows and columns that fill no tile,
// columns in any order.
#include "dialects/code_lines.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "base/random.h"

namespace nbl::dialects {
namespace {

/// Code i of a row of packed words.
uint8_t code_at(int bits, WordOrder order, const std::vector<uint32_t>& words, int64_t i) {
  const auto bit = [&](int64_t at) { return (words[static_cast<std::size_t>(at / 32)] >> (at % 32)) & 1u; };
  uint32_t code = 0;
  if (order == WordOrder::stream) {
    for (int b = 0; b < bits; ++b) code |= bit(i * bits + b) << b;
    return static_cast<uint8_t>(code);
  }
  int low = 0;
  int64_t plane = i / 32 * 32 * bits;
  const Planes planes = planes_of(bits);
  for (int p = 0; p < planes.count; ++p) {
    for (int b = 0; b < planes.width[p]; ++b) code |= bit(plane + i % 32 * planes.width[p] + b) << (low + b);
    plane += int64_t{32} * planes.width[p];
    low += planes.width[p];
  }
  return static_cast<uint8_t>(code);
}

/// Tiles of one row tile made from the codes of `columns` columns taken one by one.
std::vector<std::byte> expected_tiles(int bits, WordOrder order, const std::vector<std::vector<uint32_t>>& rows,
                                      const std::vector<int32_t>& columns) {
  const auto k = static_cast<int64_t>(columns.size());
  std::vector<uint8_t> codes;
  for (const auto& row : rows) {
    for (const int32_t c : columns) codes.push_back(code_at(bits, order, row, c));
  }
  std::vector<std::byte> tiles(static_cast<std::size_t>((k + 63) / 64 * 128 * bits));
  pack_code_tiles(bits, static_cast<int64_t>(rows.size()), k, codes.data(), k, tiles.data());
  return tiles;
}

TEST(CodeLines, EveryWidthOrderAndBorder) {
  Random random(77);
  for (int bits = 1; bits <= 8; ++bits) {
    for (const WordOrder order : {WordOrder::stream, WordOrder::planar}) {
      for (int i = 0; i < 60; ++i) {
        const auto k = static_cast<int64_t>(1 + random.below(150));
        const auto n = static_cast<std::size_t>(1 + random.below(16));
        // The words that a file has: no more than the codes need. They hold noise where no code lies.
        const auto count = static_cast<std::size_t>(order == WordOrder::planar ? (k + 31) / 32 * bits : (k * bits + 31) / 32);
        std::vector<std::vector<uint32_t>> rows(n, std::vector<uint32_t>(count));
        for (auto& row : rows) {
          for (uint32_t& word : row) word = static_cast<uint32_t>(random.below(uint64_t{1} << 32));
        }
        std::vector<int32_t> columns(static_cast<std::size_t>(k));
        std::iota(columns.begin(), columns.end(), 0);
        SCOPED_TRACE(std::to_string(bits) + " bits, order " + std::to_string(static_cast<int>(order)) + ", " + std::to_string(n) +
                     " x " + std::to_string(k));
        std::vector<std::byte> by_rows(n * count * 4), by_words(by_rows.size());
        for (std::size_t r = 0; r < n; ++r) {
          for (std::size_t w = 0; w < count; ++w) {
            std::memcpy(by_rows.data() + 4 * (r * count + w), &rows[r][w], 4);
            std::memcpy(by_words.data() + 4 * (w * n + r), &rows[r][w], 4);
          }
        }
        const auto each = static_cast<std::size_t>(2 * bits), tiles = static_cast<std::size_t>((k + 63) / 64);
        std::vector<WordLine> one(tiles * each), other(tiles * each);
        const auto rows_count = static_cast<int64_t>(n), words = static_cast<int64_t>(count);
        load_words_of_rows(by_rows.data(), 4 * words, rows_count, 4 * words, one.data());
        load_words_side_by_side(by_words.data(), 4 * rows_count, rows_count, words, other.data());
        ASSERT_EQ(one, other);

        const auto made = [&](auto&& lines_of) {
          std::vector<std::byte> out(tiles * static_cast<std::size_t>(128 * bits));
          for (std::size_t c = 0; c < tiles; ++c) {
            CodeLines lines;
            std::memset(&lines, 0xff, sizeof(lines));  // what was there before must not matter
            lines_of(c, std::min<int64_t>(64, k - static_cast<int64_t>(c) * 64), &lines);
            pack_code_lines(bits, lines, out.data() + c * static_cast<std::size_t>(128 * bits));
          }
          return out;
        };
        EXPECT_EQ(made([&](std::size_t c, int64_t some, CodeLines* lines) {
                    lines_from_words(bits, order, one.data() + c * each, some, lines);
                  }),
                  expected_tiles(bits, order, rows, columns));
        for (std::size_t c = columns.size(); c > 1; --c) std::swap(columns[c - 1], columns[random.below(c)]);
        EXPECT_EQ(made([&](std::size_t c, int64_t some, CodeLines* lines) {
                    lines_of_columns(bits, order, one.data(), columns.data() + c * 64, some, lines);
                  }),
                  expected_tiles(bits, order, rows, columns));
      }
    }
  }
}

TEST(CodeLines, RowsThatEndWithinAWord) {
  std::vector<std::byte> bytes;
  for (int i = 0; i < 3 * 7; ++i) bytes.push_back(static_cast<std::byte>(i + 1));
  WordLine words[2];
  load_words_of_rows(bytes.data(), 7, 3, 7, words);  // exactly as many bytes as there are
  EXPECT_EQ(words[0][0], 0x04030201u);
  EXPECT_EQ(words[1][2], 0x00151413u);
  EXPECT_EQ(words[0][3], 0u);
}

TEST(CodeLines, ZeroCodesAsOneStream) {
  Random random(5);
  for (int bits = 1; bits <= 8; ++bits) {
    for (const int64_t n : {int64_t{16}, int64_t{21}}) {
      Segment spec;
      spec.k_count = 64;
      spec.encoding = Encoding::affine;
      spec.bits = bits;
      spec.group_size = 32;
      spec.zero_kind = ZeroKind::code;
      auto together = SegmentBuilder::create(n, spec), single = SegmentBuilder::create(n, spec);
      ASSERT_TRUE(together.ok() && single.ok());
      for (int64_t t = 0; t < (n + 15) / 16; ++t) {
        for (int64_t g = 0; g < 2; ++g) {
          uint8_t codes[16];
          for (uint8_t& code : codes) code = static_cast<uint8_t>(random.below(uint64_t{1} << bits));
          together->set_zero_codes(t, g, codes);
          for (int64_t r = 0; r < together->rows(t); ++r) single->set_zero_code(t * 16 + r, g, codes[r]);
        }
      }
      const Segment a = std::move(*together).finish(), b = std::move(*single).finish();
      ASSERT_EQ(a.zeros.size(), b.zeros.size());
      EXPECT_EQ(std::memcmp(a.zeros.data(), b.zeros.data(), a.zeros.size()), 0) << bits << " bits, " << n << " rows";
    }
  }
}

}  // namespace
}  // namespace nbl::dialects
