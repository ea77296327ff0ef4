#include "kernels/rounding/rounding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <vector>

#include "base/half.h"
#include "base/random.h"
#include "kernels/guard_pages.h"

namespace nbl {
namespace {

using kernels::RoundingKernels;
using testing::Guarded;

constexpr uint64_t kSeed = 9107;
constexpr int64_t kLengths[] = {1, 2, 15, 16, 17, 31, 33, 64, 127, 1000, 1024, 1025, 2049};
constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

/// test(variant, the reference) for all that run here.
template <class F>
void for_each_variant(F&& test) {
  int count = 0;
  const RoundingKernels* variants = kernels::rounding_variants(&count);
  EXPECT_EQ(variants[count - 1].isa, Isa::scalar) << "the last variant must run everywhere";
  for (int v = 0; v < count; ++v) {
    if (!isa_usable(variants[v].isa)) {
      std::printf("this processor cannot run %s: not tested\n", variants[v].name);
      continue;
    }
    SCOPED_TRACE(variants[v].name);
    test(variants[v], variants[count - 1]);
  }
}

/// Normal numbers and, in some places, those that need care; with `wild` also what is not finite.
void fill(std::span<float> out, uint64_t seed, bool wild) {
  Random random(seed);
  const float care[] = {0.0f, -0.0f, 0.5f, 1.5f, -2.5f, 1e-42f, -1e-40f, 3e38f, -3e38f, 448.0f, 464.0f, 0.0009765625f, -0.015625f, 2e-3f};
  const float not_finite[] = {kInfinity, -kInfinity, kNan, -kNan};
  for (float& x : out) {
    x = static_cast<float>(random.normal());
    if (random.below(4) == 0) x = care[random.below(std::size(care))];
    if (wild && random.below(16) == 0) x = not_finite[random.below(std::size(not_finite))];
  }
}

TEST(Rounding, TheBestUsableVariantIsChosen) {
  EXPECT_EQ(kernels::rounding_kernels(Isa::scalar).isa, Isa::scalar);
  for (const Isa isa : usable_isas()) {
    const RoundingKernels& chosen = kernels::rounding_kernels(isa);
    EXPECT_LE(chosen.isa, isa);
    EXPECT_TRUE(isa_usable(chosen.isa)) << chosen.name;
    EXPECT_EQ(chosen.isa == Isa::scalar, isa == Isa::scalar) << isa_name(isa);
  }
}

TEST(Rounding, WhatIsFoundOutAboutWeightsIsTheSameEverywhere) {
  for_each_variant([&](const RoundingKernels& variant, const RoundingKernels&) {
    for (const int64_t n : kLengths) {
      Guarded<float> w(static_cast<std::size_t>(n));
      for (int round = 0; round < 4; ++round) {
        SCOPED_TRACE(::testing::Message() << n << " elements, round " << round << ", seed " << kSeed);
        fill(w.span(), kSeed + static_cast<uint64_t>(n * 8 + round), round % 2 == 1);
        bool finite = true;
        float low = 0, high = 0;
        for (const float x : w.span()) {
          finite = finite && std::isfinite(x);
          low = std::fmin(low, x);  // which passes NaNs over
          high = std::fmax(high, x);
        }
        EXPECT_EQ(variant.finite(w.data(), n), finite);
        float got_low = kNan, got_high = kNan;
        variant.extent(w.data(), n, &got_low, &got_high);
        EXPECT_EQ(got_low, low);
        EXPECT_EQ(got_high, high);
        EXPECT_FALSE(std::signbit(got_high) && got_high == 0) << "a zero range must be 0, not -0";
      }
      for (const float bad : {kInfinity, -kInfinity, kNan, -kNan}) {  // in the last place
        std::fill(w.span().begin(), w.span().end(), 1.0f);
        EXPECT_TRUE(variant.finite(w.data(), n));
        w[static_cast<std::size_t>(n - 1)] = bad;
        EXPECT_FALSE(variant.finite(w.data(), n));
      }
    }
  });
}

TEST(Rounding, CodesAreThoseOfDoublePrecisionAndTheSameEverywhere) {
  for_each_variant([&](const RoundingKernels& variant, const RoundingKernels& reference) {
    for (const int64_t n : kLengths) {
      SCOPED_TRACE(::testing::Message() << n << " elements, seed " << kSeed);
      const std::size_t size = static_cast<std::size_t>(n);
      Guarded<float> w(size);
      Guarded<uint8_t> codes(size);
      std::vector<uint8_t> expected(size);
      fill(w.span(), kSeed + static_cast<uint64_t>(n), true);
      for (const int bits : {2, 3, 4, 8}) {
        const float top = static_cast<float>((1 << bits) - 1), scale = 0.25f, zero = static_cast<float>(1 << (bits - 1));
        variant.affine_codes(w.data(), n, scale, zero, top, codes.data());
        for (std::size_t i = 0; i < size; ++i) {  // every operation is exact in double precision but the sum, which is rounded to float
          const double sum = static_cast<double>(static_cast<float>(static_cast<double>(w[i]) / 0.25 + static_cast<double>(zero)));
          const double code = std::isnan(sum) ? 0.0 : std::nearbyint(std::clamp(sum, 0.0, static_cast<double>(top)));
          ASSERT_EQ(codes[i], static_cast<uint8_t>(code)) << "weight " << i << ", " << w[i];
        }
        reference.affine_codes(w.data(), n, 0.0371f, zero, top, expected.data());
        variant.affine_codes(w.data(), n, 0.0371f, zero, top, codes.data());
        EXPECT_EQ(std::memcmp(codes.data(), expected.data(), size), 0);
      }
      for (const float scale : {1.0f, 0.0371f, 3e-40f, 1e30f}) {
        variant.e4m3_codes(w.data(), n, scale, codes.data());
        for (std::size_t i = 0; i < size; ++i) {
          ASSERT_EQ(codes[i], f32_to_e4m3(std::clamp(w[i] / scale, -448.0f, 448.0f))) << "weight " << i << ", " << w[i] << " / " << scale;
        }
      }
      for (float& x : w.span()) x = std::isfinite(x) ? std::clamp(x, -3.0f, 3.0f) : 0.5f;
      for (const float factor : {0.0f, 127.0f / 3.0f, 17.0f}) {
        variant.centered_codes(w.data(), n, factor, codes.data());
        for (std::size_t i = 0; i < size; ++i) {
          ASSERT_EQ(codes[i], static_cast<uint8_t>(128 + static_cast<int>(std::nearbyintf(w[i] * factor)))) << "weight " << i;
        }
      }
    }
  });
}

TEST(Rounding, EveryFloatThatE4m3HoldsOrLiesHalfWayIsRoundedRight) {
  for_each_variant([&](const RoundingKernels& variant, const RoundingKernels&) {
    std::vector<float> w;
    for (int code = 0; code < 256; ++code) {
      const float value = e4m3_to_f32(static_cast<uint8_t>(code));
      w.push_back(value);
      if (std::isnan(value) || code % 128 == 126) continue;
      const float next = e4m3_to_f32(static_cast<uint8_t>(code + 1)), half = 0.5f * (value + next);
      for (const float x : {half, std::nextafter(half, value), std::nextafter(half, next)}) w.push_back(x);
    }
    std::vector<uint8_t> codes(w.size());
    variant.e4m3_codes(w.data(), static_cast<int64_t>(w.size()), 1.0f, codes.data());
    for (std::size_t i = 0; i < w.size(); ++i) EXPECT_EQ(codes[i], f32_to_e4m3(w[i])) << w[i];
  });
}

TEST(Rounding, TableCodesCountTheBoundariesBelow) {
  for_each_variant([&](const RoundingKernels& variant, const RoundingKernels&) {
    float boundaries[19], order[16];
    std::fill(boundaries + 15, boundaries + 19, -kInfinity);  // decide nothing
    for (int i = 0; i < 15; ++i) boundaries[i] = -0.95f + 0.13f * static_cast<float>(i);
    boundaries[9] = boundaries[8];  // as between a table's 0 and -0
    for (int i = 0; i < 16; ++i) order[i] = static_cast<float>((i * 7 + 3) % 16);
    for (const int64_t n : kLengths) {
      const std::size_t size = static_cast<std::size_t>(n);
      Guarded<float> w(size);
      Guarded<uint8_t> codes(size);
      for (const float scale : {1.0f, 0.7f, 1e-39f, 0.0f}) {  // the reciprocal of the third is not finite
        SCOPED_TRACE(::testing::Message() << n << " elements, scale " << scale << ", seed " << kSeed);
        fill(w.span(), kSeed + static_cast<uint64_t>(n), scale > 0);
        for (std::size_t i = 0; i < size; ++i) {
          if (scale == 1.0f && i < 15) w[i] = boundaries[i];
          if (scale == 1e-39f) w[i] *= 1e-39f;
          if (scale == 0) w[i] = i % 2 == 0 ? 0.0f : -0.0f;
        }
        variant.table_codes({w.data(), n, scale, boundaries, order, codes.data()});
        for (std::size_t i = 0; i < size; ++i) {
          const float x = scale == 1e-39f ? w[i] / scale : scale > 0 ? w[i] * (1.0f / scale) : 0.0f;
          const auto place = std::count_if(boundaries, boundaries + 15, [&](float b) { return x > b; });
          ASSERT_EQ(static_cast<float>(codes[i]), order[place]) << "weight " << i << ", " << w[i];
        }
      }
    }
  });
}

TEST(Rounding, SquaredErrorsAgreeWithDoublePrecisionAndAreTheSameEverywhere) {
  for_each_variant([&](const RoundingKernels& variant, const RoundingKernels& reference) {
    for (const int64_t n : kLengths) {
      for (const bool weighted : {false, true}) {
        SCOPED_TRACE(::testing::Message() << n << " elements, weighted " << weighted << ", seed " << kSeed);
        const std::size_t size = static_cast<std::size_t>(n);
        Guarded<float> w(size), v(size), importance(size);
        Random random(kSeed + static_cast<uint64_t>(n));
        double error = 0.25, square = 0.5;  // sums are added to what is there
        for (std::size_t i = 0; i < size; ++i) {
          w[i] = static_cast<float>(random.normal());
          v[i] = w[i] + 0.1f * static_cast<float>(random.normal());
          importance[i] = random.uniform();
          const double h = weighted ? static_cast<double>(importance[i]) : 1.0, d = static_cast<double>(w[i]) - static_cast<double>(v[i]);
          error += h * d * d;
          square += h * static_cast<double>(w[i]) * static_cast<double>(w[i]);
        }
        double got[2] = {0.25, 0.5}, same[2] = {0.25, 0.5};
        variant.squared_error(w.data(), v.data(), weighted ? importance.data() : nullptr, n, &got[0], &got[1]);
        reference.squared_error(w.data(), v.data(), weighted ? importance.data() : nullptr, n, &same[0], &same[1]);
        EXPECT_NEAR(got[0], error, 1e-5 * error);
        EXPECT_NEAR(got[1], square, 1e-5 * square);
        EXPECT_EQ(got[0], same[0]);
        EXPECT_EQ(got[1], same[1]);
      }
    }
  });
}

TEST(Rounding, Bfloat16IsWidenedFromAnyAddress) {
  for_each_variant([&](const RoundingKernels& variant, const RoundingKernels&) {
    for (const int64_t n : kLengths) {
      const std::size_t size = static_cast<std::size_t>(n);
      Guarded<uint8_t> bytes(2 * size + 1);
      Guarded<float> out(size);
      Random random(kSeed);
      for (uint8_t& b : bytes.span()) b = static_cast<uint8_t>(random.below(256));
      variant.widen_bf16(bytes.data() + 1, n, out.data());
      for (std::size_t i = 0; i < size; ++i) {
        uint16_t half;
        std::memcpy(&half, bytes.data() + 1 + 2 * i, 2);
        ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), uint32_t{half} << 16);
      }
    }
  });
}

TEST(Rounding, EveryE4m3CodeIsWidened) {
  for_each_variant([&](const RoundingKernels& variant, const RoundingKernels&) {
    for (const int64_t n : {int64_t{256}, int64_t{251}, int64_t{15}, int64_t{1}}) {
      Guarded<uint8_t> codes(static_cast<std::size_t>(n));
      Guarded<float> out(static_cast<std::size_t>(n));
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) codes.data()[i] = static_cast<uint8_t>(255 - i);
      variant.widen_e4m3(codes.data(), n, out.data());
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i)
        ASSERT_EQ(std::bit_cast<uint32_t>(out.data()[i]), std::bit_cast<uint32_t>(e4m3_to_f32(codes.data()[i]))) << 255 - i;
    }
  });
}

TEST(Rounding, ValuesOfCodesAreTheSameEverywhere) {
  for_each_variant([&](const RoundingKernels& variant, const RoundingKernels&) {
    Guarded<float> table(16);
    Random random(kSeed);
    for (float& t : table.span()) t = static_cast<float>(random.normal());
    for (const int64_t n : kLengths) {
      const std::size_t size = static_cast<std::size_t>(n);
      Guarded<uint8_t> codes(size);
      Guarded<float> out(size);
      const auto same = [&](std::size_t i, float expected) {
        return std::bit_cast<uint32_t>(out[i]) == std::bit_cast<uint32_t>(expected);
      };
      for (const float scale : {1.0f, -0.0371f, 3e-40f, 1e30f}) {
        SCOPED_TRACE(::testing::Message() << n << " codes, scale " << scale << ", seed " << kSeed);
        for (uint8_t& c : codes.span()) c = static_cast<uint8_t>(random.below(16));
        variant.table_values(codes.data(), n, scale, table.data(), out.data());
        for (std::size_t i = 0; i < size; ++i) ASSERT_TRUE(same(i, scale * table[codes[i]])) << "code " << int{codes[i]};
        for (uint8_t& c : codes.span()) c = static_cast<uint8_t>(random.below(256));
        for (const float shift : {0.0f, 8.0f, 255.0f, 7.31f, -0.02f}) {
          variant.affine_values(codes.data(), n, scale, shift, out.data());
          for (std::size_t i = 0; i < size; ++i) {
            const float difference = static_cast<float>(codes[i]) - shift;
            ASSERT_TRUE(same(i, scale * difference)) << "code " << int{codes[i]} << " above " << shift;
          }
          variant.minimum_values(codes.data(), n, scale, shift, out.data());
          for (std::size_t i = 0; i < size; ++i) {
            const float product = scale * static_cast<float>(codes[i]);  // rounded before the sum
            ASSERT_TRUE(same(i, product + shift)) << "code " << int{codes[i]} << " and " << shift;
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace nbl
