#include "tensor/array.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.h"

namespace nbl {
namespace {

TEST(DType, NamesAndSizes) {
  EXPECT_EQ(dtype_bytes(DType::f32), 4);
  EXPECT_EQ(dtype_bytes(DType::bf16), 2);
  EXPECT_EQ(dtype_bytes(DType::e4m3), 1);
  EXPECT_EQ(dtype_bytes(DType::i64), 8);
  EXPECT_STREQ(dtype_name(DType::bf16), "bf16");
  EXPECT_STREQ(dtype_name(DType::e8m0), "e8m0");
}

TEST(DType, EveryF16IsWidenedAsTheScalarFunctionDoes) {
  std::vector<uint16_t> bits(65536);
  for (uint32_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  std::vector<float> out(bits.size());
  convert_to_f32(DType::f16, bits.data(), static_cast<int64_t>(bits.size()), out.data());
  for (std::size_t i = 0; i < bits.size(); ++i) {
    const float expected = f16_to_f32(bits[i]);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(out[i])) << i;
    } else {
      ASSERT_EQ(out[i], expected) << i;
      ASSERT_EQ(std::signbit(out[i]), std::signbit(expected)) << i;
    }
  }
}

TEST(DType, FloatsRoundToNearestEven) {
  const std::vector<float> values = {1.0f, 1.0f + 0x1p-11f, 1.0f + 0x1.8p-10f, 65504.0f, -0.0f};
  std::vector<uint16_t> half(values.size());
  convert_from_f32(values.data(), static_cast<int64_t>(values.size()), DType::f16, half.data());
  EXPECT_EQ(half, (std::vector<uint16_t>{0x3c00, 0x3c00, 0x3c02, 0x7bff, 0x8000}));
  const std::vector<float> more = {1.0f, 1.0f + 0x1p-8f, 1.0f + 0x1.8p-7f};
  std::vector<uint16_t> brain(more.size());
  convert_from_f32(more.data(), static_cast<int64_t>(more.size()), DType::bf16, brain.data());
  EXPECT_EQ(brain, (std::vector<uint16_t>{0x3f80, 0x3f80, 0x3f82}));
}

TEST(DType, UnalignedSourcesAndIntegers) {
  std::byte raw[9] = {};
  const int32_t value = -123456;
  std::memcpy(raw + 1, &value, 4);
  float out = 0;
  convert_to_f32(DType::i32, raw + 1, 1, &out);
  EXPECT_EQ(out, -123456.0f);
  const double wide = 0.1;
  std::memcpy(raw + 1, &wide, 8);
  convert_to_f32(DType::f64, raw + 1, 1, &out);
  EXPECT_EQ(out, 0.1f);
}

TEST(Shape, CountsAndOverflow) {
  EXPECT_EQ(element_count({}).value(), 1);
  EXPECT_EQ(element_count({3, 0, 5}).value(), 0);
  EXPECT_EQ(element_count({3, 5}).value(), 15);
  EXPECT_EQ(element_count({1ll << 40, 1ll << 40}).status().code(), Code::corrupt);
  EXPECT_EQ(element_count({2, -1}).status().code(), Code::corrupt);
  EXPECT_EQ(shape_string({512, 1408}), "[512, 1408]");
}

TEST(Array, RoundTripAndWrongSizes) {
  auto array = Array::from_f32({1, 2, 3, 4, 5, 6}, {2, 3});
  ASSERT_TRUE(array.ok());
  EXPECT_EQ(array->size(), 6);
  EXPECT_EQ(array->to_f32().value(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_FALSE(Array::from_f32({1, 2}, {3}).ok());
  array->shape = {7};
  EXPECT_FALSE(array->to_f32().ok());
}

TEST(Convert, E4m3OfManyIsThatOfOne) {
  std::vector<uint8_t> codes(256), again(256);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i);
  std::vector<float> values(256);
  convert_to_f32(DType::e4m3, codes.data(), 256, values.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float expected = e4m3_to_f32(codes[i]);
    EXPECT_EQ(std::memcmp(&values[i], &expected, 4), 0) << i;
  }
  // Every exponent, numbers on both sides of each tie, infinities and NaN.
  std::vector<float> wide;
  for (uint32_t high = 0; high < 0x2000; ++high) {
    for (const uint32_t low : {0u, 1u, 0x3ffffu, 0x40000u, 0x7ffffu}) wide.push_back(std::bit_cast<float>(high << 19 | low));
  }
  std::vector<uint8_t> narrow(wide.size());
  convert_from_f32(wide.data(), static_cast<int64_t>(wide.size()), DType::e4m3, narrow.data());
  for (std::size_t i = 0; i < wide.size(); ++i) ASSERT_EQ(narrow[i], f32_to_e4m3(wide[i])) << wide[i];
}

TEST(Storage, BorrowKeepsTheOwnerAlive) {
  auto owner = std::make_shared<std::vector<std::byte>>(100, std::byte{7});
  std::weak_ptr<std::vector<std::byte>> watch = owner;
  {
    Storage storage = Storage::borrow(*owner, owner);
    owner.reset();
    EXPECT_FALSE(watch.expired());
    Storage copy = storage;
    EXPECT_EQ(copy.data(), storage.data());
    EXPECT_EQ(copy.bytes()[99], std::byte{7});
  }
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace nbl
