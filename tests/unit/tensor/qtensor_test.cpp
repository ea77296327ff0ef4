#include "tensor/qtensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/half.h"
#include "tensor/tiles.h"

namespace nbl {
namespace {

// Where the layout's description (qtensor.h) puts the code of (row, column): read bit by bit, sharing nothing with the
// packer.
uint32_t code_at(const Segment& s, int64_t row, int64_t column) {
  const int64_t tile = (row / 16) * s.column_tiles() + column / 64;
  const std::byte* p = s.codes.data() + tile * 128 * s.bits;
  const int64_t r = row % 16, k = column % 64;
  if (s.bits == 8) return static_cast<uint32_t>(p[(k / 4) * 64 + r * 4 + k % 4]);
  uint32_t code = 0;
  int shift = 0;
  for (const int w : {4, 2, 1}) {
    const bool used =
        w == s.bits || (s.bits == 3 && w <= 2) || (s.bits == 5 && w != 2) || (s.bits == 6 && w >= 2) || s.bits == 7;
    if (!used) continue;
    const int64_t kk = k % (8 * w);
    const uint32_t byte = static_cast<uint32_t>(p[(kk / 4) * 64 + r * 4 + kk % 4]);
    code |= ((byte >> (w * (k / (8 * w)))) & ((1u << w) - 1u)) << shift;
    p += 128 * w;
    shift += w;
  }
  return code;
}

struct Case {
  int64_t n, k, group;
};
const Case kCases[] = {{1, 1, 0},     {16, 64, 16},   {17, 65, 32}, {15, 63, 16},
                       {33, 200, 64}, {48, 256, 128}, {5, 130, 48}, {20, 192, 0}};

int64_t groups_of(const Case& c) { return c.group == 0 ? 1 : (c.k + c.group - 1) / c.group; }

float half_value(std::mt19937& rng) {
  return f16_to_f32(f32_to_f16(std::uniform_real_distribution<float>(-1.0f, 1.0f)(rng)));
}

TEST(QTensor, AffineOfEveryWidthAndKind) {
  std::mt19937 rng(20240601);
  for (const Case& c : kCases) {
    const int64_t g = groups_of(c);
    for (int bits = 1; bits <= 8; ++bits) {
      for (const ZeroKind kind : {ZeroKind::symmetric, ZeroKind::code, ZeroKind::minimum, ZeroKind::real}) {
        std::vector<uint8_t> codes(static_cast<std::size_t>(c.n * c.k));
        for (auto& code : codes) code = static_cast<uint8_t>(rng() & ((1u << bits) - 1u));
        std::vector<float> scales(static_cast<std::size_t>(c.n * g)), zeros;
        for (auto& s : scales) s = half_value(rng);
        if (kind != ZeroKind::symmetric) zeros.resize(scales.size());
        for (auto& z : zeros)
          z = kind == ZeroKind::code ? static_cast<float>(rng() & ((1u << bits) - 1u)) : half_value(rng);
        AffineParts parts;
        parts.bits = bits;
        parts.group_size = c.group;
        parts.codes = codes;
        parts.scales = scales;
        parts.zero_kind = kind;
        parts.zeros = zeros;
        auto segment = pack_affine(c.n, c.k, parts);
        ASSERT_TRUE(segment.ok()) << segment.status().message();
        const QTensor t = make_qtensor(c.n, c.k, *segment);
        ASSERT_TRUE(t.validate("t").ok()) << t.validate("t").message();
        std::vector<float> row(static_cast<std::size_t>(c.k));
        std::vector<uint8_t> unpacked(row.size());
        for (int64_t r = 0; r < c.n; ++r) {
          t.dequantize_row(r, row.data());
          t.unpack_row_codes(r, unpacked.data());
          for (int64_t k = 0; k < c.k; ++k) {
            const uint8_t q = codes[static_cast<std::size_t>(r * c.k + k)];
            ASSERT_EQ(unpacked[static_cast<std::size_t>(k)], q) << "bits " << bits << " row " << r << " column " << k;
            ASSERT_EQ(code_at(*segment, r, k), q) << "bits " << bits << " row " << r << " column " << k;
            const auto slot = static_cast<std::size_t>(r * g + (c.group == 0 ? 0 : k / c.group));
            const float s = scales[slot], fq = static_cast<float>(q);
            float expected = 0;
            if (kind == ZeroKind::symmetric) expected = s * (fq - static_cast<float>(1 << (bits - 1)));
            if (kind == ZeroKind::code || kind == ZeroKind::real) expected = s * (fq - zeros[slot]);
            if (kind == ZeroKind::minimum) {
              const volatile float product = s * fq;
              expected = product + zeros[slot];
            }
            ASSERT_EQ(row[static_cast<std::size_t>(k)], expected);
          }
        }
      }
    }
  }
}

TEST(QTensor, PaddingHoldsZeros) {
  std::vector<uint8_t> codes(17 * 65, 0x7f);
  std::vector<float> scales(17, 1.0f);
  AffineParts parts;
  parts.bits = 7;
  parts.codes = codes;
  parts.scales = scales;
  auto segment = pack_affine(17, 65, parts);
  ASSERT_TRUE(segment.ok());
  for (int64_t r = 0; r < 32; ++r) {
    for (int64_t k = 0; k < 128; ++k) {
      ASSERT_EQ(code_at(*segment, r, k), r < 17 && k < 65 ? 0x7fu : 0u);
    }
  }
  const auto stored = segment->scales.as<uint16_t>();
  for (std::size_t i = 17; i < stored.size(); ++i) EXPECT_EQ(stored[i], 0);
}

TEST(QTensor, Codebook) {
  std::mt19937 rng(7);
  for (const Case& c : kCases) {
    CodebookParts parts;
    parts.group_size = c.group;
    for (auto& v : parts.table) v = half_value(rng);
    std::vector<uint8_t> codes(static_cast<std::size_t>(c.n * c.k));
    for (auto& code : codes) code = static_cast<uint8_t>(rng() & 15u);
    std::vector<float> scales(static_cast<std::size_t>(c.n * groups_of(c)));
    for (auto& s : scales) s = std::uniform_real_distribution<float>(0, 1)(rng);
    parts.codes = codes;
    parts.scales = scales;
    auto segment = pack_codebook(c.n, c.k, parts);
    ASSERT_TRUE(segment.ok()) << segment.status().message();
    const QTensor t = make_qtensor(c.n, c.k, *segment);
    ASSERT_TRUE(t.validate("t").ok());
    std::vector<float> row(static_cast<std::size_t>(c.k));
    for (int64_t r = 0; r < c.n; ++r) {
      t.dequantize_row(r, row.data());
      for (int64_t k = 0; k < c.k; ++k) {
        const auto slot = static_cast<std::size_t>(r * groups_of(c) + (c.group == 0 ? 0 : k / c.group));
        ASSERT_EQ(row[static_cast<std::size_t>(k)],
                  scales[slot] * parts.table[codes[static_cast<std::size_t>(r * c.k + k)]]);
      }
    }
  }
}

TEST(QTensor, DenseOfEveryType) {
  std::mt19937 rng(11);
  for (const Case& c : kCases) {
    for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::e4m3}) {
      std::vector<float> values(static_cast<std::size_t>(c.n * c.k));
      for (auto& v : values) v = half_value(rng);
      std::vector<std::byte> raw(values.size() * 4 + 1);
      // One byte off, so that nothing relies on the source's alignment.
      std::byte* src = raw.data() + 1;
      convert_from_f32(values.data(), c.n * c.k, type, src);
      convert_to_f32(type, src, c.n * c.k, values.data());
      auto segment = pack_dense(c.n, c.k, type, src);
      ASSERT_TRUE(segment.ok());
      const QTensor t = make_qtensor(c.n, c.k, *segment);
      ASSERT_TRUE(t.validate("t").ok()) << t.validate("t").message();
      std::vector<float> row(static_cast<std::size_t>(c.k));
      const int64_t size = dtype_bytes(type), e = 4 / size;
      for (int64_t r = 0; r < c.n; ++r) {
        t.dequantize_row(r, row.data());
        for (int64_t k = 0; k < c.k; ++k) {
          ASSERT_EQ(row[static_cast<std::size_t>(k)], values[static_cast<std::size_t>(r * c.k + k)]);
          const int64_t line = (r / 16) * segment->column_tiles() * 64 / e + k / e;
          float stored = 0;
          convert_to_f32(type, segment->codes.data() + line * 64 + (r % 16) * 4 + (k % e) * size, 1, &stored);
          ASSERT_EQ(stored, values[static_cast<std::size_t>(r * c.k + k)]);
        }
      }
    }
  }
}

Segment random_segment(std::mt19937& rng, int64_t n, int64_t k, int bits) {
  std::vector<uint8_t> codes(static_cast<std::size_t>(n * k));
  for (auto& code : codes) code = static_cast<uint8_t>(rng() & ((1u << bits) - 1u));
  std::vector<float> scales(static_cast<std::size_t>(n));
  for (auto& s : scales) s = half_value(rng);
  AffineParts parts;
  parts.bits = bits;
  parts.codes = codes;
  parts.scales = scales;
  return pack_affine(n, k, parts).value();
}

Storage indices(const std::vector<int32_t>& values) { return Storage::copy(std::as_bytes(std::span(values))).value(); }

TEST(QTensor, SegmentsColumnOrderAndOutliers) {
  std::mt19937 rng(3);
  const int64_t n = 18, k = 100;
  QTensor t;
  t.n = n;
  t.k = k;
  t.segments = {random_segment(rng, n, 64, 3), random_segment(rng, n, 36, 5)};
  t.segments[1].k_begin = 64;
  ASSERT_TRUE(t.validate("t").ok()) << t.validate("t").message();
  std::vector<float> packed(static_cast<std::size_t>(k)), out(packed.size());
  t.dequantize_row(17, packed.data());

  std::vector<int32_t> order(static_cast<std::size_t>(k));
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>((i * 7 + 3) % 100);
  t.column_order = indices(order);
  std::vector<int32_t> offsets(static_cast<std::size_t>(n + 1), 0);
  offsets[18] = 2;
  const std::vector<uint16_t> values = {f32_to_f16(0.5f), f32_to_f16(-2.0f)};
  t.outliers = Outliers{indices(offsets), indices({4, 99}), Storage::copy(std::as_bytes(std::span(values))).value(), 2};
  ASSERT_TRUE(t.validate("t").ok()) << t.validate("t").message();
  t.dequantize_row(17, out.data());
  for (std::size_t p = 0; p < packed.size(); ++p) {
    const auto column = static_cast<std::size_t>(order[p]);
    EXPECT_EQ(out[column], packed[p] + (column == 4 ? 0.5f : column == 99 ? -2.0f : 0.0f));
  }
  EXPECT_EQ(t.stored_bytes(), (18 * 64 * 3 / 8 + 36) + (18 * 36 * 5 / 8 + 36) + 400 + 4 * 19 + 12);
  EXPECT_EQ(t.description(), "affine 3 bit row f16 sym x64 + affine 5 bit row f16 sym x36, reordered, 2 outliers");
}

TEST(QTensor, BytesAndDescription) {
  std::mt19937 rng(5);
  std::vector<uint8_t> codes(32 * 256, 1);
  std::vector<float> scales(32 * 2, 0.5f), zeros(32 * 2, 3.0f);
  AffineParts parts;
  parts.group_size = 128;
  parts.codes = codes;
  parts.scales = scales;
  parts.zero_kind = ZeroKind::code;
  parts.zeros = zeros;
  const QTensor t = make_qtensor(32, 256, pack_affine(32, 256, parts).value());
  EXPECT_EQ(t.description(), "affine 4 bit g128 f16 asym");
  EXPECT_EQ(t.stored_bytes(), 32 * 256 / 2 + 64 * 2 + 64 / 2);
  EXPECT_DOUBLE_EQ(t.bits_per_weight(), 4 + 20.0 / 128);
}

TEST(QTensor, PackRefusesWhatDoesNotFit) {
  std::vector<uint8_t> codes(16 * 32, 3);
  std::vector<float> scales(16 * 2, 1.0f), zeros(16 * 2, 0.0f);
  AffineParts good;
  good.bits = 2;
  good.group_size = 16;
  good.codes = codes;
  good.scales = scales;
  ASSERT_TRUE(pack_affine(16, 32, good).ok());
  auto refused = [&](auto change, const char* words) {
    AffineParts parts = good;
    change(parts);
    const auto result = pack_affine(16, 32, parts);
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.status().message().find(words), std::string::npos) << result.status().message();
  };
  refused([](AffineParts& p) { p.bits = 1; }, "does not fit 1 bits");
  refused([](AffineParts& p) { p.bits = 9; }, "9 bits");
  refused([](AffineParts& p) { p.group_size = 24; }, "multiple of 16");
  refused([](AffineParts& p) { p.codes = p.codes.first(100); }, "100 codes");
  refused([&](AffineParts& p) { p.zeros = zeros; }, "32 zeros");
  refused([](AffineParts& p) { p.zero_kind = ZeroKind::code; }, "0 zeros");
  std::vector<float> wrong = zeros;
  wrong[3] = 4;
  refused([&](AffineParts& p) { p.zero_kind = ZeroKind::code, p.zeros = wrong; }, "zero point 4");
  wrong[3] = 0.5;
  refused([&](AffineParts& p) { p.zero_kind = ZeroKind::code, p.zeros = wrong; }, "zero point 0.5");
  std::vector<float> fine = scales;
  fine[1] = 0.1f;
  refused([&](AffineParts& p) { p.scales = fine; }, "which f16 cannot hold");
  fine[1] = std::numeric_limits<float>::quiet_NaN();
  refused([&](AffineParts& p) { p.scales = fine, p.scale_type = DType::f32; }, "scale 1");
}

TEST(QTensor, ValidateFindsEveryLie) {
  std::mt19937 rng(9);
  const QTensor good = make_qtensor(20, 100, random_segment(rng, 20, 100, 4));
  ASSERT_TRUE(good.validate("w").ok());
  auto refused = [&](auto change, const char* words) {
    QTensor t = good;
    change(t);
    const Status status = t.validate("layer.w");
    EXPECT_EQ(status.code(), Code::corrupt);
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("layer.w"), std::string::npos) << status.message();
  };
  refused([](QTensor& t) { t.n = 33; }, "codes take");
  refused([](QTensor& t) { t.k = 0; }, "impossible shape");
  refused([](QTensor& t) { t.n = int64_t{1} << 40; }, "impossible shape");
  refused([](QTensor& t) { t.k = 129; }, "cover 100 columns of 129");
  refused([](QTensor& t) { t.segments.clear(); }, "no segment");
  refused([](QTensor& t) { t.segments[0].k_begin = 64; }, "segment 0");
  refused([](QTensor& t) { t.segments[0].k_count = 101; }, "segment 0");
  refused([](QTensor& t) { t.segments[0].bits = 5; }, "codes take");
  refused([](QTensor& t) { t.segments[0].bits = 0; }, "codes of 0 bits");
  refused([](QTensor& t) { t.segments[0].group_size = 8; }, "group size 8");
  refused([](QTensor& t) { t.segments[0].group_size = std::numeric_limits<int64_t>::max() - 15; }, "group size");
  refused([](QTensor& t) { t.segments[0].group_size = 32; }, "scales take");
  refused([](QTensor& t) { t.segments[0].scale_type = DType::i8; }, "of type i8");
  refused([](QTensor& t) { t.segments[0].zero_kind = ZeroKind::code; }, "zeros take");
  refused([](QTensor& t) { t.segments[0].encoding = static_cast<Encoding>(9); }, "unknown encoding");
  refused([](QTensor& t) { t.segments.push_back(t.segments[0]); }, "segment 0 ends at column 100");
  refused(
      [](QTensor& t) {
        t.segments[0].codes =
            Storage::borrow(t.segments[0].codes.bytes().subspan(4, t.segments[0].codes.size() - 4), {});
      },
      "codes take");
  refused([](QTensor& t) { t.column_order = indices({0, 1}); }, "column order take");
  std::vector<int32_t> order(100);
  for (int i = 0; i < 100; ++i) order[static_cast<std::size_t>(i)] = i;
  order[5] = 6;
  refused([&](QTensor& t) { t.column_order = indices(order); }, "column 6 twice");
  order[5] = 100;
  refused([&](QTensor& t) { t.column_order = indices(order); }, "is 100");
  order[5] = -1;
  refused([&](QTensor& t) { t.column_order = indices(order); }, "is -1");
  refused(
      [](QTensor& t) {
        std::vector<uint16_t> scales(t.segments[0].scales.size() / 2, 0x7c00);
        t.segments[0].scales = Storage::copy(std::as_bytes(std::span(scales))).value();
      },
      "not finite");
  const std::vector<uint16_t> values = {0, 0};
  const Storage two = Storage::copy(std::as_bytes(std::span(values))).value();
  auto outliers = [&](std::vector<int32_t> offsets, std::vector<int32_t> columns) {
    offsets.resize(21, offsets.back());
    return [=](QTensor& t) { t.outliers = Outliers{indices(offsets), indices(columns), two, 2}; };
  };
  QTensor fine = good;
  outliers({0, 2}, {1, 3})(fine);
  EXPECT_TRUE(fine.validate("w").ok()) << fine.validate("w").message();
  refused(outliers({0, 2}, {3, 3}), "column 3 after");
  refused(outliers({0, 2}, {3, 100}), "column 100");
  refused(outliers({0, 1}, {3, 5}), "from 0 to 1");
  refused(outliers({0, 1000000, 2}, {3, 5}), "end past the last");
  refused(outliers({0, 2, 1, 2}, {3, 5}), "decrease");
}

TEST(QTensor, ValidateFindsDensePaddingAndMisalignment) {
  std::vector<float> values(17 * 70, 1.0f);
  QTensor t = make_qtensor(17, 70, pack_dense(17, 70, DType::f32, values.data()).value());
  ASSERT_TRUE(t.validate("w").ok());
  Storage changed = Storage::copy(t.segments[0].codes.bytes()).value();
  auto* bytes = const_cast<std::byte*>(changed.data());
  bytes[70 * 64 + 8] = std::byte{0x7f};  // row 2, column 70
  t.segments[0].codes = changed;
  EXPECT_NE(t.validate("w").message().find("row 2 has values past"), std::string::npos) << t.validate("w").message();

  auto buffer = Buffer::create(changed.size() + 64);
  ASSERT_TRUE(buffer.ok());
  t.segments[0].codes = Storage::borrow(std::span<const std::byte>(buffer->data() + 4, changed.size()), {});
  EXPECT_NE(t.validate("w").message().find("64-byte boundary"), std::string::npos) << t.validate("w").message();
}

TEST(Tiles, PlanesAddUp) {
  for (int bits = 1; bits <= 8; ++bits) {
    const Planes planes = planes_of(bits);
    int sum = 0;
    for (int i = 0; i < planes.count; ++i) sum += planes.width[i];
    EXPECT_EQ(sum, bits);
  }
}

TEST(Tiles, WhatAnEncodingDoesNotHaveHasNoPlace) {
  Segment spec;
  spec.k_count = 64;
  spec.encoding = Encoding::affine;
  spec.bits = 4;
  spec.group_size = 32;
  auto symmetric = SegmentBuilder::create(32, spec);
  ASSERT_TRUE(symmetric.ok());
  EXPECT_NE(symmetric->scales(1, 1), nullptr);
  EXPECT_EQ(symmetric->zeros(1, 1), nullptr);  // no offset from no memory
  Segment dense;
  dense.k_count = 64;
  auto values = SegmentBuilder::create(32, dense);
  ASSERT_TRUE(values.ok());
  EXPECT_EQ(values->scales(1, 0), nullptr);
}

}  // namespace
}  // namespace nbl
