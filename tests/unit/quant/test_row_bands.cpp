// Rows quantized some at a time against the whole matrix at once; scales kept as codes.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <limits>

#include "quant/row_bands.h"
#include "quant_testing.h"

namespace nbl::quant {
namespace {

using testing::Layer;
using testing::random_layer;

std::optional<LinearResult> by_rows(const std::string& text, const Layer& layer, const FunctionRef<void()>* alongside = nullptr, SpareBuffers* spare = nullptr) {
  const auto recipe = parse_recipe(text);
  EXPECT_TRUE(recipe.ok());
  EXPECT_TRUE(recipe->method->by_rows(recipe->options, layer.k));
  const auto read = [&](int64_t row, int64_t count, float* out) {
    std::copy_n(layer.weight.data() + row * layer.k, count * layer.k, out);
  };
  return quantize_by_rows(*recipe, "test.weight", layer.n, layer.k, read, testing::context(), alongside, spare);
}

void expect_same(const Storage& a, const Storage& b) {
  EXPECT_TRUE(std::ranges::equal(a.bytes(), b.bytes())) << a.size() << " and " << b.size() << " bytes";
}

TEST(RowBands, TheTensorIsTheSameByteForByte) {
  const char* const recipes[] = {"rtn:bits=4,group=64", "rtn:bits=3,group=48,sym=true", "rtn:bits=2,group=-1,mse=10", "rtn:bits=1,group=32", "rtn:bits=5,group=128",
                                 "nf4:block=64",        "fp4:block=32",                 "int8",                      "fp8",                 "fp8:activations=dynamic"};
  for (const int64_t n : {1, 31, 32, 70, 129}) {
    const Layer layer = random_layer(n, 192, static_cast<uint64_t>(n));
    for (const char* recipe : recipes) {
      SCOPED_TRACE(std::string(recipe) + ", rows " + std::to_string(n));
      const LinearResult whole = testing::quantize(recipe, layer.task(false));
      std::atomic<int> runs{0};
      const auto count = [&] { ++runs; };
      const FunctionRef<void()> beside(count);
      const auto banded = by_rows(recipe, layer, &beside);
      ASSERT_TRUE(banded);
      EXPECT_EQ(runs, 1);
      ASSERT_TRUE(banded->tensor.validate("banded").ok());
      EXPECT_EQ(banded->tensor.description(), whole.tensor.description());
      EXPECT_EQ(banded->tensor.input_rounding, whole.tensor.input_rounding);
      ASSERT_EQ(banded->tensor.segments.size(), 1u);
      expect_same(banded->tensor.segments[0].codes, whole.tensor.segments[0].codes);
      expect_same(banded->tensor.segments[0].scales, whole.tensor.segments[0].scales);
      expect_same(banded->tensor.segments[0].zeros, whole.tensor.segments[0].zeros);
      EXPECT_NEAR(banded->error, whole.error, 1e-6 * whole.error);
      EXPECT_GT(banded->reference, 0);
    }
  }
}

TEST(RowBands, MemoryThatWasUsedBeforeChangesNothing) {
  for (const int64_t n : {16, 70}) {
    const Layer layer = random_layer(n, 192, 5);
    for (const char* recipe : {"rtn:bits=3,group=48", "nf4:block=64", "int8", "fp8"}) {
      const auto fresh = by_rows(recipe, layer);
      ASSERT_TRUE(fresh);
      const std::size_t bytes = fresh->tensor.segments[0].codes.size();
      SpareBuffers spare;
      auto used = Buffer::create(bytes);
      ASSERT_TRUE(used.ok());
      std::ranges::fill(used->as<std::byte>(), std::byte{0xff});
      const std::byte* where = used->data();
      spare.give(std::move(used).value());
      auto again = by_rows(recipe, layer, nullptr, &spare);
      ASSERT_TRUE(again);
      EXPECT_EQ(again->tensor.segments[0].codes.data(), where);
      expect_same(again->tensor.segments[0].codes, fresh->tensor.segments[0].codes);
      const Storage second = again->tensor.segments[0].codes;
      EXPECT_EQ(std::move(again->tensor.segments[0].codes).release().size(), 0u) << "another storage stands on it";
      EXPECT_EQ(Storage(second).release().size(), 0u);
      auto last = by_rows(recipe, layer);
      ASSERT_TRUE(last);
      EXPECT_EQ(std::move(last->tensor.segments[0].codes).release().size(), bytes);
      EXPECT_TRUE(last->tensor.segments[0].codes.empty());
    }
  }
}

TEST(SpareBuffers, AreOfTheSizeAskedForAndFew) {
  constexpr std::size_t kSize = std::size_t{20} << 20;
  SpareBuffers spare;
  for (int i = 0; i < 5; ++i) {
    Buffer buffer = Buffer::create(kSize).value();
    buffer.data()[0] = std::byte{1};
    spare.give(std::move(buffer));  // 64 MB hold three
  }
  Buffer large = Buffer::create(std::size_t{65} << 20).value();
  large.data()[0] = std::byte{1};
  spare.give(std::move(large));  // more than all of that
  EXPECT_EQ(spare.take(std::size_t{65} << 20).value().data()[0], std::byte{0});
  EXPECT_EQ(spare.take(kSize - 64).value().data()[0], std::byte{0});
  std::vector<Buffer> taken;
  for (int i = 0; i < 5; ++i) {
    taken.push_back(spare.take(kSize).value());
    ASSERT_EQ(taken.back().size(), kSize);
    EXPECT_EQ(taken.back().data()[0], std::byte(i < 3 ? 1 : 0)) << i;
  }
}

TEST(RowBands, WhatNeedsAWordIsLeftToTheWholeMatrix) {
  Layer layer = random_layer(70, 128, 3);
  layer.weight[40 * 128 + 7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(by_rows("rtn", layer));
  layer = random_layer(70, 128, 3);
  std::fill_n(layer.weight.begin() + 66 * 128, 128, 0.0f);  // a row of zeros is noted
  EXPECT_FALSE(by_rows("rtn", layer));
  layer = random_layer(70, 128, 3);
  layer.weight[5] = 1e7f;  // scales of that band alone do not fit f16
  EXPECT_FALSE(by_rows("rtn", layer));
}

TEST(CodedScales, AreMultiplesOfAStepThatRowsShare) {
  const Layer layer = random_layer(50, 192, 9);
  for (const int bits : {4, 6, 8}) {
    const LinearResult result = testing::quantize("gptq:bits=3,group=32,scale_bits=" + std::to_string(bits), layer.task());
    ASSERT_EQ(result.tensor.segments.size(), 1u);
    const Segment& s = result.tensor.segments[0];
    ASSERT_TRUE(s.scale_codes);
    EXPECT_EQ(s.scale_codes->bits, bits);
    EXPECT_EQ(s.scale_codes->rows, 8);  // of 6 groups each: 48 scales to a step
    EXPECT_EQ(s.scale_codes->expand(50, 6).size(), 300u);
    // 3-bit codes and zeros, and 16 bits for every 8 rows.
    const double expected = 3.0 + (bits + 3.0) / 32.0 + 16.0 * 7 / (50.0 * 192.0);
    EXPECT_NEAR(result.tensor.bits_per_weight(), expected, 8.0 / (50 * 192));  // whole bytes
  }
}

TEST(CodedScales, SixBitsLoseNextToNothing) {
  for (const char* more : {"", ",sym=true", ",desc_act=true,act_group_aware=false", ",static_groups=true", ",refine=0"}) {
    SCOPED_TRACE(more);
    const Layer layer = random_layer(64, 256, 21);
    const std::string base = std::string("gptq:bits=3,group=64") + more;
    const double exact = testing::quantize(base, layer.task()).error, coded = testing::quantize(base + ",scale_bits=6", layer.task()).error;
    EXPECT_LT(coded, 1.03 * exact);
    // And fewer bits are coarser.
    EXPECT_GT(testing::quantize(base + ",scale_bits=3", layer.task()).error, coded);
  }
}

/// Corrections of the target, and columns that make good the errors of others through inputs a fraction as large, ask for scales far
/// beyond the weight's own: the step must reach them.
TEST(CodedScales, ReachWhatCorrectionsAndFeedbackAskFor) {
  constexpr int64_t kRows = 48, kColumns = 192, kGroup = 64;
  for (const char* method : {"trellis:bits=2,group=64", "gptq:bits=3,group=64,mse=20,refine=2"}) {
    SCOPED_TRACE(method);
    const auto error = [&](const Layer& layer, const std::vector<float>& target, const char* options) {
      const std::vector<float> got = testing::dequantize(testing::quantize(std::string(method) + options, layer.task()).tensor);
      double sum = 0;
      for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t i = 0; i < kColumns; ++i) {
          const std::size_t at = static_cast<std::size_t>(r * kColumns);
          double along = 0;
          for (int64_t j = 0; j < kColumns; ++j)
            along += static_cast<double>(layer.stats.hessian[static_cast<std::size_t>(i * kColumns + j)]) *
                     static_cast<double>(got[at + static_cast<std::size_t>(j)] - target[at + static_cast<std::size_t>(j)]);
          sum += along * static_cast<double>(got[at + static_cast<std::size_t>(i)] - target[at + static_cast<std::size_t>(i)]);
        }
      }
      return sum;
    };
    Layer corrected = random_layer(kRows, kColumns, 5);
    std::vector<float> target = corrected.weight;
    corrected.stats.residual.assign(corrected.weight.size(), 0.0f);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t c = kGroup; c < 2 * kGroup; ++c) {
        const float more = 6.0f * corrected.weight[static_cast<std::size_t>(r * kColumns + c)];
        target[static_cast<std::size_t>(r * kColumns + c)] += more;
        for (int64_t i = 0; i < kColumns; ++i)
          corrected.stats.residual[static_cast<std::size_t>(r * kColumns + i)] += more * corrected.stats.hessian[static_cast<std::size_t>(c * kColumns + i)];
      }
    }
    EXPECT_LT(error(corrected, target, ",beta=1,damp=0.0001,scale_bits=6"), 1.15 * error(corrected, target, ",beta=1,damp=0.0001,scale_bits=0"));

    Layer copied = random_layer(kRows, kColumns, 6);
    const std::vector<float> h = copied.stats.hessian;
    const auto source = [&](int64_t c) { return c < 2 * kGroup ? c : c - 2 * kGroup; };
    const auto share = [&](int64_t c) { return c < 2 * kGroup ? 1.0f : 0.05f; };
    for (int64_t i = 0; i < kColumns; ++i) {
      for (int64_t j = 0; j < kColumns; ++j) {
        float& to = copied.stats.hessian[static_cast<std::size_t>(i * kColumns + j)];
        to = share(i) * share(j) * h[static_cast<std::size_t>(source(i) * kColumns + source(j))];
        if (i == j) to *= 1.001f;
      }
    }
    EXPECT_LT(error(copied, copied.weight, ",damp=0.0001,scale_bits=6"), 1.2 * error(copied, copied.weight, ",damp=0.0001,scale_bits=0"));
  }
}

TEST(CodedScales, ZeroRowsAndNoStatisticsAreFine) {
  Layer layer = random_layer(40, 128, 4);
  std::fill_n(layer.weight.begin(), 3 * 128, 0.0f);
  const std::vector<float> values = testing::dequantize(testing::quantize("gptq:bits=3,group=32,scale_bits=6", layer.task()).tensor);
  for (std::size_t i = 0; i < 3 * 128; ++i) EXPECT_EQ(values[i], 0.0f);
  layer.stats.hessian.assign(layer.stats.hessian.size(), 0.0f);
  const LinearResult nearest = testing::quantize("gptq:bits=3,group=32,scale_bits=6", layer.task());
  EXPECT_FALSE(nearest.notes.empty());
  EXPECT_TRUE(nearest.tensor.segments[0].scale_codes);
  EXPECT_FALSE(parse_recipe("gptq:scale_bits=2").ok());
}

}  // namespace
}  // namespace nbl::quant
