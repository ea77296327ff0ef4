#include "base/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "base/random.h"

namespace nbl {
namespace {

// The nearest value of a small format by brute force over all of its non-negative finite ones, ties to the even code.
// Independent of the conversion under test: it knows the formats' values only through the reading direction, whose
// values are checked against ldexp.
uint32_t nearest(double value, const std::vector<double>& values) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < values.size(); ++i) {
    const double a = std::fabs(values[i] - value);
    const double b = std::fabs(values[best] - value);
    if (a < b || (a == b && i % 2 == 0)) best = i;
  }
  return best;
}

TEST(Half, F16ReadsEveryCode) {
  for (uint32_t code = 0; code < 0x7c00; ++code) {
    const int e = static_cast<int>(code >> 10);
    const double expected =
        e == 0 ? std::ldexp(code & 0x3ff, -24) : std::ldexp(1024 + static_cast<int>(code & 0x3ff), e - 25);
    ASSERT_EQ(f16_to_f32(static_cast<uint16_t>(code)), expected) << code;
    ASSERT_EQ(f16_to_f32(static_cast<uint16_t>(code | 0x8000)), -expected) << code;
  }
  EXPECT_EQ(f16_to_f32(0x7c00), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(f16_to_f32(0x7e00)));
  EXPECT_TRUE(std::signbit(f16_to_f32(0x8000)));
}

TEST(Half, F16RoundTripsEveryCode) {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const float v = f16_to_f32(static_cast<uint16_t>(code));
    if (std::isnan(v)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(v))));
    } else {
      ASSERT_EQ(f32_to_f16(v), code);
    }
  }
}

TEST(Half, F16RoundsMidpointsToEven) {
  for (uint32_t code = 0; code < 0x7bff; ++code) {
    const float low = f16_to_f32(static_cast<uint16_t>(code));
    const float high = f16_to_f32(static_cast<uint16_t>(code + 1));
    const float middle = (low + high) / 2;  // exact: one more bit
    ASSERT_EQ(f32_to_f16(middle), code % 2 == 0 ? code : code + 1) << code;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0F)), code) << code;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 1e9F)), code + 1) << code;
  }
  EXPECT_EQ(f32_to_f16(65504.0F), 0x7bff);
  EXPECT_EQ(f32_to_f16(std::nextafter(65520.0F, 0.0F)), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0F), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30F), 0xfc00);
  EXPECT_EQ(f32_to_f16(0x1p-25F), 0);
  EXPECT_EQ(f32_to_f16(std::nextafter(0x1p-25F, 1.0F)), 1);
  EXPECT_EQ(f32_to_f16(-0.0F), 0x8000);
}

TEST(Half, Bf16) {
  EXPECT_EQ(f32_to_bf16(1.0F), 0x3f80);
  EXPECT_EQ(bf16_to_f32(0x4049), 3.140625F);
  EXPECT_EQ(f32_to_bf16(1.00390625F), 0x3f80);  // halfway, to even
  EXPECT_EQ(f32_to_bf16(1.01171875F), 0x3f82);  // halfway, to even
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  float quiet_less;
  const uint32_t nan_bits = 0x7f800001;
  std::memcpy(&quiet_less, &nan_bits, 4);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(quiet_less))));
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const float v = bf16_to_f32(static_cast<uint16_t>(code));
    if (!std::isnan(v)) {
      ASSERT_EQ(f32_to_bf16(v), code);
    }
  }
}

TEST(Half, E4m3AgainstAllValues) {
  std::vector<double> values;
  for (uint32_t code = 0; code < 0x7f; ++code) {
    const int e = static_cast<int>(code >> 3);
    const double expected = e == 0 ? std::ldexp(code & 7, -9) : std::ldexp(8 + static_cast<int>(code & 7), e - 10);
    ASSERT_EQ(e4m3_to_f32(static_cast<uint8_t>(code)), expected) << code;
    values.push_back(expected);
  }
  EXPECT_TRUE(std::isnan(e4m3_to_f32(0x7f)));
  EXPECT_TRUE(std::isnan(e4m3_to_f32(0xff)));
  EXPECT_EQ(values.back(), 448.0);
  Random random(7);
  for (int i = 0; i < 20000; ++i) {
    const float v = static_cast<float>(std::ldexp(random.uniform_double(), static_cast<int>(random.below(24)) - 13));
    ASSERT_EQ(f32_to_e4m3(v), nearest(v, values)) << v;
    ASSERT_EQ(f32_to_e4m3(-v), nearest(v, values) | 0x80U) << v;
  }
  for (std::size_t code = 0; code + 1 < values.size(); ++code) {
    const float middle = static_cast<float>((values[code] + values[code + 1]) / 2);
    ASSERT_EQ(f32_to_e4m3(middle), code % 2 == 0 ? code : code + 1) << code;
  }
  EXPECT_EQ(f32_to_e4m3(1e9F), 0x7e);
  EXPECT_EQ(f32_to_e4m3(-std::numeric_limits<float>::infinity()), 0xfe);
  EXPECT_EQ(f32_to_e4m3(std::nanf("")), 0x7f);
}

TEST(Half, E8m0) {
  EXPECT_EQ(e8m0_to_f32(127), 1.0F);
  EXPECT_EQ(e8m0_to_f32(0), 0x1p-127F);
  EXPECT_EQ(e8m0_to_f32(254), 0x1p127F);
  EXPECT_TRUE(std::isnan(e8m0_to_f32(255)));
}

}  // namespace
}  // namespace nbl
