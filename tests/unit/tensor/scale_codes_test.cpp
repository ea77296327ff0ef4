// Scales kept as codes, scaled dense values, rounded inputs.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/half.h"
#include "tensor/linear.h"
#include "tensor/qtensor.h"
#include "tensor/scale_codes.h"
#include "support/random_qtensor.h"

namespace nbl {
namespace {

TEST(ScaleCodes, ExpandByBlocksOfRowsAndGroups) {
  ScaleCodes form;
  form.bits = 3;
  form.offset = 4;
  form.rows = 2;
  form.groups = 2;
  const std::vector<uint8_t> codes = {0, 1, 2, 7, 6, 5, 4, 3, 2};  // 3 rows of 3 groups
  const std::vector<float> supers = {0.5f, 2.0f, 1.0f, 4.0f};      // 2 x 2 blocks
  const auto made = make_scale_codes(3, 3, form, {codes, supers, {}, {}});
  ASSERT_TRUE(made.ok()) << made.status().message();
  EXPECT_EQ(made->expand(3, 3), (std::vector<float>{-2, -1.5f, -4, 1.5f, 1, 2, 0, -1, -8}));
  EXPECT_EQ(made->stored_bits(3, 3), 9 * 3 + 4 * 16);
}

TEST(ScaleCodes, RunsTablesAndAddends) {
  ScaleCodes form;
  form.bits = 1;
  form.rows = 0;
  form.groups = 4;
  form.super_type = DType::f32;
  form.shift = 0.25f;
  const std::vector<uint8_t> codes = {0, 1, 1, 0, 1, 0};
  const std::vector<float> supers = {2, 8}, table = {-1, 0.5f}, addends = {1, 2};
  auto made = make_scale_codes(2, 3, form, {codes, supers, {}, table});
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->expand(2, 3), (std::vector<float>{-1.75f, 1.25f, 1.25f, -1.75f, 4.25f, -7.75f}));
  made = make_scale_codes(2, 3, form, {codes, supers, addends, table});
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->expand(2, 3), (std::vector<float>{-1, 2, 2, -1, 6, -6}));
  EXPECT_FALSE(make_scale_codes(2, 3, form, {codes, {supers.data(), 1}, {}, table}).ok());
  const std::vector<uint8_t> wide = {0, 1, 1, 0, 2, 0};
  EXPECT_FALSE(make_scale_codes(2, 3, form, {wide, supers, {}, table}).ok());
}

TEST(ScaledDense, TimesItsScale) {
  std::mt19937 rng(3);
  const int64_t n = 21, k = 150;
  std::vector<float> values(static_cast<std::size_t>(n * k));
  std::vector<std::byte> stored(values.size());
  for (float& v : values) v = std::uniform_real_distribution<float>(-400, 400)(rng);
  convert_from_f32(values.data(), n * k, DType::e4m3, stored.data());
  convert_to_f32(DType::e4m3, stored.data(), n * k, values.data());
  std::vector<float> scales(static_cast<std::size_t>(n * 2));
  for (float& s : scales) s = std::uniform_real_distribution<float>(0.001f, 0.1f)(rng);
  const auto segment = pack_scaled_dense(n, k, DType::e4m3, stored.data(), 128, scales, DType::f32);
  ASSERT_TRUE(segment.ok());
  const QTensor tensor = make_qtensor(n, k, *segment);
  ASSERT_TRUE(tensor.validate("w").ok()) << tensor.validate("w").message();
  EXPECT_EQ(tensor.stored_bytes(), n * k + n * 2 * 4);
  std::vector<float> row(static_cast<std::size_t>(k));
  for (int64_t r = 0; r < n; ++r) {
    tensor.dequantize_row(r, row.data());
    for (int64_t c = 0; c < k; ++c) {
      EXPECT_EQ(row[static_cast<std::size_t>(c)],
                values[static_cast<std::size_t>(r * k + c)] * scales[static_cast<std::size_t>(r * 2 + c / 128)]);
    }
  }
}

TEST(InputRounding, Int8E4m3AndOutliers) {
  std::vector<float> x = {1.0f, -2.54f, 0.019f, 0.031f, 100.3f};
  InputRounding rounding;
  rounding.threshold = 50;
  std::vector<float> y = x;
  rounding.apply(y.data(), 5);
  const float s = 2.54f / 127.0f;
  EXPECT_EQ(y[1], -2.54f);
  EXPECT_EQ(y[0], s * 50.0f);
  EXPECT_EQ(y[2], s * 1.0f);
  EXPECT_EQ(y[3], s * 2.0f);
  EXPECT_EQ(y[4], f16_to_f32(f32_to_f16(100.3f)));
  rounding = {InputRounding::Type::e4m3, 0.5f, 0};
  y = {0.5f * 17.0f, -1000.0f, 0.0f};
  rounding.apply(y.data(), 3);
  EXPECT_EQ(y, (std::vector<float>{8.0f, -224.0f, 0.0f}));  // 17 lies half way between 16 and 18: to even
}

// The product is that of the dequantized weight with the rounded input, whatever the mode.
TEST(InputRounding, LinearMultipliesTheRoundedInput) {
  std::mt19937 rng(8);
  const int64_t n = 40, k = 130, m = 3;
  for (const bool dense : {false, true}) {
    for (const Compute compute : {Compute::exact, Compute::fast}) {
      QTensor tensor = dense ? test::random_dense(rng, n, k, DType::bf16) : test::random_affine(rng, n, k, 4, 64, ZeroKind::code);
      tensor.input_rounding = InputRounding{InputRounding::Type::int8, 0, 1.5f};
      std::vector<float> scale(static_cast<std::size_t>(k)), x(static_cast<std::size_t>(m * k)), y(static_cast<std::size_t>(m * n));
      for (float& v : scale) v = std::uniform_real_distribution<float>(0.5f, 2.0f)(rng);
      for (float& v : x) v = std::normal_distribution<float>()(rng);
      tensor.input_scale = test::storage_of(scale);
      const QTensor copy = tensor;
      const auto linear = Linear::create(std::move(tensor), {}, {compute, best_isa()});
      ASSERT_TRUE(linear.ok());
      Team team(2);
      auto prepared = Buffer::create(linear->prepared_bytes(m));
      ASSERT_TRUE(prepared.ok());
      team.run([&](Worker& worker) {
        linear->prepare(worker, x.data(), k, m, prepared->data());
        linear->multiply(worker, prepared->data(), m, y.data(), n);
        worker.barrier();
      });
      std::vector<float> w(static_cast<std::size_t>(k));
      for (int64_t i = 0; i < m; ++i) {
        std::vector<float> rounded(x.begin() + i * k, x.begin() + (i + 1) * k);
        for (std::size_t c = 0; c < rounded.size(); ++c) rounded[c] *= scale[c];
        copy.input_rounding->apply(rounded.data(), k);
        for (int64_t r = 0; r < n; ++r) {
          copy.dequantize_row(r, w.data());
          double sum = 0, size = 0;
          for (std::size_t c = 0; c < w.size(); ++c) {
            sum += static_cast<double>(w[c]) * static_cast<double>(rounded[c]);
            size += std::fabs(static_cast<double>(w[c]) * static_cast<double>(rounded[c]));
          }
          EXPECT_NEAR(y[static_cast<std::size_t>(i * n + r)], sum, 1e-5 * size);
        }
      }
    }
  }
}

}  // namespace
}  // namespace nbl
