// Random QTensors of every kind, and what "the same" means.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "support/trellis_codes.h"
#include "tensor/qtensor.h"

namespace nbl::test {

inline float random_half(std::mt19937& rng) {
  return f16_to_f32(f32_to_f16(std::uniform_real_distribution<float>(-1.0f, 1.0f)(rng)));
}

inline std::vector<uint8_t> random_codes(std::mt19937& rng, int64_t count, int bits) {
  std::vector<uint8_t> codes(static_cast<std::size_t>(count));
  for (auto& code : codes) code = static_cast<uint8_t>(rng() & ((1u << bits) - 1u));
  return codes;
}

inline Segment random_affine_segment(std::mt19937& rng, int64_t n, int64_t k, int bits, int64_t group, ZeroKind kind) {
  const int64_t groups = group == 0 ? 1 : (k + group - 1) / group;
  const auto codes = random_codes(rng, n * k, bits);
  std::vector<float> scales(static_cast<std::size_t>(n * groups)), zeros;
  for (auto& s : scales) s = random_half(rng);
  if (kind != ZeroKind::symmetric) zeros.resize(scales.size());
  for (auto& z : zeros) z = kind == ZeroKind::code ? static_cast<float>(rng() & ((1u << bits) - 1u)) : random_half(rng);
  AffineParts parts;
  parts.bits = bits;
  parts.group_size = group;
  parts.codes = codes;
  parts.scales = scales;
  parts.zero_kind = kind;
  parts.zeros = zeros;
  return pack_affine(n, k, parts).value();
}

inline QTensor random_affine(std::mt19937& rng, int64_t n, int64_t k, int bits, int64_t group, ZeroKind kind) {
  return make_qtensor(n, k, random_affine_segment(rng, n, k, bits, group, kind));
}

inline QTensor random_codebook(std::mt19937& rng, int64_t n, int64_t k, int64_t group) {
  CodebookParts parts;
  parts.group_size = group;
  for (auto& v : parts.table) v = random_half(rng);
  const auto codes = random_codes(rng, n * k, 4);
  std::vector<float> scales(static_cast<std::size_t>(n * (group == 0 ? 1 : (k + group - 1) / group)));
  for (auto& s : scales) s = std::uniform_real_distribution<float>(0, 1)(rng);
  parts.codes = codes;
  parts.scales = scales;
  return make_qtensor(n, k, pack_codebook(n, k, parts).value());
}

inline QTensor random_trellis(std::mt19937& rng, int64_t n, int64_t k, int bits, int64_t group) {
  TrellisParts parts;
  parts.bits = bits;
  parts.group_size = group;
  for (auto& v : parts.table) v = random_half(rng);
  const auto codes = random_trellis_codes(rng, n, k, bits);
  std::vector<float> scales(static_cast<std::size_t>(n * (group == 0 ? 1 : (k + group - 1) / group)));
  for (auto& s : scales) s = random_half(rng);
  parts.codes = codes;
  parts.scales = scales;
  return make_qtensor(n, k, pack_trellis(n, k, parts).value());
}

/// 4-bit normal floats in blocks of `group`.
inline QTensor random_nf4(std::mt19937& rng, int64_t n, int64_t k, int64_t group) {
  static constexpr float kTable[16] = {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
                                       -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
                                       0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
                                       0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};
  QTensor tensor = random_codebook(rng, n, k, group);
  std::copy(std::begin(kTable), std::end(kTable), tensor.segments[0].table.begin());
  return tensor;
}

/// The tensor with scales that are 8-bit codes into a table, in runs of `run` blocks that share a scale, plus an offset.
inline QTensor nested(std::mt19937& rng, QTensor tensor, int64_t run) {
  ScaleCodes form;
  form.bits = 8;
  form.rows = 0;
  form.groups = run;
  form.shift = std::uniform_real_distribution<float>(0.25f, 0.5f)(rng);
  form.super_type = DType::f32;
  Segment& segment = tensor.segments[0];
  const int64_t count = tensor.n * segment.groups();
  const auto codes = random_codes(rng, count, 8);
  std::vector<float> supers(static_cast<std::size_t>((count + run - 1) / run)), table(256);
  for (float& s : supers) s = std::uniform_real_distribution<float>(0, 0.2f)(rng);
  for (float& t : table) t = std::uniform_real_distribution<float>(-1, 1)(rng);
  auto made = make_scale_codes(tensor.n, segment.groups(), std::move(form), {codes, supers, {}, table});
  EXPECT_TRUE(made.ok()) << made.status().message();
  const Status status = set_scale_codes(tensor.n, std::move(made).value(), &segment);
  EXPECT_TRUE(status.ok()) << status.message();
  return tensor;
}

/// e4m3 with a float a row (group 0) or a square block of `group`.
inline QTensor random_fp8(std::mt19937& rng, int64_t n, int64_t k, int64_t group) {
  std::vector<std::byte> values(static_cast<std::size_t>(n * k));
  for (auto& v : values) v = static_cast<std::byte>(rng() % 0x78);
  const int64_t across = group == 0 ? 1 : (k + group - 1) / group;
  std::vector<float> scales(static_cast<std::size_t>(n * across));
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t g = 0; g < across; ++g) {
      const std::size_t at = static_cast<std::size_t>(r * across + g);
      const bool follows = group != 0 && r % group != 0;
      scales[at] = follows ? scales[at - static_cast<std::size_t>(across)] : 0.001f * static_cast<float>(1 + rng() % 64);
    }
  }
  return make_qtensor(n, k, pack_scaled_dense(n, k, DType::e4m3, values.data(), group, scales, DType::f32).value());
}

inline QTensor random_dense(std::mt19937& rng, int64_t n, int64_t k, DType type) {
  std::vector<float> values(static_cast<std::size_t>(n * k));
  for (auto& v : values) v = random_half(rng);
  std::vector<std::byte> stored(values.size() * 4);
  convert_from_f32(values.data(), n * k, type, stored.data());
  return make_qtensor(n, k, pack_dense(n, k, type, stored.data()).value());
}

template <class T>
Storage storage_of(const std::vector<T>& values) {
  return Storage::copy(std::as_bytes(std::span(values))).value();
}

inline std::vector<int32_t> random_order(std::mt19937& rng, int64_t k) {
  std::vector<int32_t> order(static_cast<std::size_t>(k));
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::shuffle(order.begin(), order.end(), rng);
  return order;
}

/// Scales and minimums kept as 6-bit codes with a super-scale and an addend for 2 x 4 of them; rounded inputs.
inline QTensor random_second_order(std::mt19937& rng, int64_t n, int64_t k) {
  QTensor tensor = random_affine(rng, n, k, 3, 16, ZeroKind::minimum);
  Segment& segment = tensor.segments[0];
  for (const bool zeros : {false, true}) {
    ScaleCodes form;
    form.bits = 6;
    form.offset = 5;
    form.rows = 2;
    form.groups = 4;
    std::vector<float> supers(static_cast<std::size_t>(form.block_count(n, segment.groups()))), addends(supers.size());
    for (auto& s : supers) s = random_half(rng);
    for (auto& a : addends) a = random_half(rng);
    const auto codes = random_codes(rng, n * segment.groups(), 6);
    auto made = make_scale_codes(n, segment.groups(), form, {codes, supers, addends, {}}).value();
    EXPECT_TRUE((zeros ? set_zero_codes : set_scale_codes)(n, std::move(made), &segment).ok());
  }
  tensor.input_rounding = InputRounding{InputRounding::Type::int8, 0, 6};
  return tensor;
}

/// FP8 with a scale for 16 rows and 64 columns.
inline QTensor random_scaled(std::mt19937& rng, int64_t n, int64_t k) {
  std::vector<std::byte> values(static_cast<std::size_t>(n * k));
  for (auto& v : values) v = static_cast<std::byte>(rng() % 0x78);
  std::vector<float> scales(static_cast<std::size_t>(n * ((k + 63) / 64)), 1.0f);
  Segment segment = pack_scaled_dense(n, k, DType::e4m3, values.data(), 64, scales, DType::f32).value();
  ScaleCodes form;
  form.super_type = DType::f32;
  form.rows = 16;
  std::vector<float> supers(static_cast<std::size_t>(form.block_count(n, segment.groups())));
  for (auto& s : supers) s = random_half(rng);
  EXPECT_TRUE(set_scale_codes(n, make_scale_codes(n, segment.groups(), form, {{}, supers, {}, {}}).value(), &segment).ok());
  return make_qtensor(n, k, std::move(segment));
}

/// One of each kind, sizes on and off the tiles.
inline std::map<std::string, QTensor> random_qtensors(std::mt19937& rng) {
  std::map<std::string, QTensor> all;
  for (int bits = 1; bits <= 8; ++bits) {
    const std::string b = std::to_string(bits);
    all["sym" + b] = random_affine(rng, 33, 128, bits, 32, ZeroKind::symmetric);
    all["asym" + b] = random_affine(rng, 16, 100, bits, 64, ZeroKind::code);
    all["min" + b] = random_affine(rng, 40, 64, bits, 16, ZeroKind::minimum);
    all["real" + b] = random_affine(rng, 7, 70, bits, 0, ZeroKind::real);
  }
  all["codebook"] = random_codebook(rng, 18, 192, 64);
  for (int bits = 1; bits <= 4; ++bits) all["trellis" + std::to_string(bits)] = random_trellis(rng, 18, 150, bits, 64);
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::e4m3}) {
    all[std::string("dense_") + dtype_name(type)] = random_dense(rng, 21, 75, type);
  }
  all["second_order"] = random_second_order(rng, 19, 176);
  all["scaled"] = random_scaled(rng, 35, 130);
  QTensor mixed;
  mixed.n = 20;
  mixed.k = 100;
  mixed.segments = {random_affine_segment(rng, 20, 64, 3, 32, ZeroKind::code),
                    random_affine_segment(rng, 20, 36, 5, 0, ZeroKind::symmetric)};
  mixed.segments[1].k_begin = 64;
  mixed.column_order = storage_of(random_order(rng, 100));
  std::vector<float> scale(100);
  for (auto& s : scale) s = random_half(rng);
  mixed.input_scale = storage_of(scale);
  std::vector<int32_t> offsets(21, 0);
  offsets[20] = 2;
  mixed.outliers = Outliers{storage_of(offsets), storage_of(std::vector<int32_t>{3, 99}),
                            storage_of(std::vector<uint16_t>{0x3c00, 0xbc00}), 2};
  all["mixed"] = mixed;
  return all;
}

/// Equal codes, equal values bit for bit, equal extras.
inline void expect_same(const QTensor& a, const QTensor& b) {
  ASSERT_EQ(a.n, b.n);
  ASSERT_EQ(a.k, b.k);
  EXPECT_EQ(a.description(), b.description());
  std::vector<float> x(static_cast<std::size_t>(a.k)), y(x.size());
  std::vector<uint8_t> p(x.size()), q(x.size());
  for (int64_t r = 0; r < a.n; ++r) {
    a.dequantize_row(r, x.data());
    b.dequantize_row(r, y.data());
    ASSERT_EQ(x, y) << "row " << r;
    a.unpack_row_codes(r, p.data());
    b.unpack_row_codes(r, q.data());
    ASSERT_EQ(p, q) << "row " << r;
  }
  EXPECT_TRUE(std::equal(a.input_scale.bytes().begin(), a.input_scale.bytes().end(), b.input_scale.bytes().begin(),
                         b.input_scale.bytes().end()));
}

}  // namespace nbl::test
