// Trellis-coded segments: where their bits lie, what they mean, and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "support/trellis_codes.h"
#include "tensor/qtensor.h"

namespace nbl {
namespace {

using test::random_trellis_codes;
using test::step_column;

struct Shape {
  int64_t n, k, group;
};
constexpr Shape kShapes[] = {{1, 64, 64}, {16, 128, 64}, {17, 192, 128}, {33, 70, 0},
                             {5, 9, 0},   {20, 130, 64}, {3, 320, 0}};

TrellisParts parts_of(int bits, const Shape& shape, std::mt19937& rng, const std::vector<uint8_t>& codes,
                      std::vector<float>* scales) {
  TrellisParts parts;
  parts.bits = bits;
  parts.group_size = shape.group;
  for (float& v : parts.table) v = std::uniform_real_distribution<float>(-1, 1)(rng);
  scales->resize(
      static_cast<std::size_t>(shape.n * (shape.group == 0 ? 1 : (shape.k + shape.group - 1) / shape.group)));
  for (float& s : *scales) s = static_cast<float>(rng() % 512) / 256.0f;
  parts.codes = codes;
  parts.scales = *scales;
  return parts;
}

TEST(Trellis, ValuesAreScaleTimesTable) {
  std::mt19937 rng(3);
  for (int bits = 1; bits <= 4; ++bits) {
    for (const Shape& shape : kShapes) {
      SCOPED_TRACE(::testing::Message() << bits << " bits, " << shape.n << " x " << shape.k << ", groups of "
                                        << shape.group);
      const std::vector<uint8_t> codes = random_trellis_codes(rng, shape.n, shape.k, bits);
      std::vector<float> scales;
      const TrellisParts parts = parts_of(bits, shape, rng, codes, &scales);
      const auto segment = pack_trellis(shape.n, shape.k, parts);
      ASSERT_TRUE(segment.ok()) << segment.status().message();
      const QTensor t = make_qtensor(shape.n, shape.k, *segment);
      ASSERT_TRUE(t.validate("t").ok()) << t.validate("t").message();
      EXPECT_EQ(t.segments[0].code_bits(), bits + 1);
      const auto stored_bits = shape.n * shape.k * bits + 16 * static_cast<int64_t>(scales.size());
      EXPECT_EQ(t.stored_bytes(), (stored_bits + 7) / 8);
      std::vector<float> row(static_cast<std::size_t>(shape.k));
      std::vector<uint8_t> row_codes(row.size());
      const int64_t groups = static_cast<int64_t>(scales.size()) / shape.n;
      for (int64_t r = 0; r < shape.n; ++r) {
        t.dequantize_row(r, row.data());
        t.unpack_row_codes(r, row_codes.data());
        for (int64_t c = 0; c < shape.k; ++c) {
          const uint8_t code = codes[static_cast<std::size_t>(r * shape.k + c)];
          ASSERT_EQ(row_codes[static_cast<std::size_t>(c)], code) << "row " << r << " column " << c;
          const float scale = scales[static_cast<std::size_t>(r * groups + (shape.group == 0 ? 0 : c / shape.group))];
          const float value = bits < 4    ? parts.table[code]
                              : code < 16 ? -parts.table[15u - code]
                                          : parts.table[code - 16u];
          ASSERT_EQ(row[static_cast<std::size_t>(c)], scale * value);
        }
      }
    }
  }
}

// One path bit after the other, from its place in the tile as qtensor.h says.
TEST(Trellis, BitsLieWhereTheFormatSays) {
  std::mt19937 rng(5);
  const Shape shape{18, 128, 64};
  const std::vector<uint8_t> codes = random_trellis_codes(rng, shape.n, shape.k, 3);
  std::vector<float> scales;
  const auto segment = pack_trellis(shape.n, shape.k, parts_of(3, shape, rng, codes, &scales));
  ASSERT_TRUE(segment.ok());
  for (int64_t r = 0; r < shape.n; ++r) {
    for (int64_t tile = 0; tile < 2; ++tile) {
      const auto* p = reinterpret_cast<const uint8_t*>(segment->codes.data()) + (r / 16 * 2 + tile) * 384;
      std::vector<int> path;
      for (int64_t s = 0; s < 64; ++s) {
        const int64_t c = step_column(s);
        path.push_back(p[c % 8 / 4 * 64 + r % 16 * 4 + c % 4] >> (c / 8) & 1);
      }
      const auto labels = test::labels_of(path);
      for (int64_t s = 0; s < 64; ++s) {
        const int64_t c = step_column(s), k1 = c % 16;
        const int free = p[128 + k1 / 4 * 64 + r % 16 * 4 + k1 % 4] >> (2 * (c / 16)) & 3;
        const auto& label = labels[static_cast<std::size_t>(s)];
        ASSERT_EQ(codes[static_cast<std::size_t>(r * shape.k + tile * 64 + c)],
                  free << 2 | label.one << 1 | label.zero);
      }
    }
  }
}

TEST(Trellis, WhatIsNoPathIsRefused) {
  std::mt19937 rng(7);
  const Shape shape{4, 64, 64};
  std::vector<uint8_t> codes = random_trellis_codes(rng, shape.n, shape.k, 2);
  std::vector<float> scales;
  codes[64 + 5] ^= 1;  // a label 0 that the path before it does not give
  const auto refused = pack_trellis(shape.n, shape.k, parts_of(2, shape, rng, codes, &scales));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), Code::invalid_argument);
  EXPECT_NE(refused.status().message().find("no path of the trellis"), std::string::npos);
  codes[64 + 5] = 9;  // four bits where three are
  EXPECT_NE(pack_trellis(shape.n, shape.k, parts_of(2, shape, rng, codes, &scales))
                .status()
                .message()
                .find("does not fit 3 bits"),
            std::string::npos);
  codes[64 + 5] = 0;
  for (const int bits : {0, 5})
    EXPECT_NE(pack_trellis(shape.n, shape.k, parts_of(bits, shape, rng, codes, &scales))
                  .status()
                  .message()
                  .find("1 to 4 can"),
              std::string::npos);
}

TEST(Trellis, ATensorOfOtherWidthsIsNotBelieved) {
  std::mt19937 rng(9);
  const Shape shape{16, 64, 0};
  const std::vector<uint8_t> codes = random_trellis_codes(rng, shape.n, shape.k, 3);
  std::vector<float> scales;
  QTensor t =
      make_qtensor(shape.n, shape.k, pack_trellis(shape.n, shape.k, parts_of(3, shape, rng, codes, &scales)).value());
  t.segments[0].bits = 5;
  EXPECT_NE(t.validate("t").message().find("codes of 5 bits where 1 to 4 are possible"), std::string::npos);
  t.segments[0].bits = 2;
  EXPECT_NE(t.validate("t").message().find("codes take"), std::string::npos);
}

}  // namespace
}  // namespace nbl
