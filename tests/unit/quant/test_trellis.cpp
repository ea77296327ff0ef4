// trellis: what its codes gain, and what becomes of weights and statistics that are out of the way.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "quant_testing.h"

namespace nbl::quant {
namespace {

using testing::Layer;
using testing::random_layer;

TEST(TrellisMethod, ErrsAQuarterLessThanGptqWithFewerBits) {
  for (const uint64_t seed : {1u, 2u, 3u}) {
    const Layer layer = random_layer(64, 256, seed);
    for (const char* bits : {"2", "3", "4"}) {
      SCOPED_TRACE(std::string(bits) + " bits");
      const LinearResult affine =
          testing::quantize(std::string("gptq:group=64,scale_bits=6,bits=") + bits, layer.task());
      const LinearResult trellis = testing::quantize(std::string("trellis:bits=") + bits, layer.task());
      EXPECT_LT(trellis.error, 0.75 * affine.error);
      EXPECT_LT(trellis.tensor.bits_per_weight(), affine.tensor.bits_per_weight());
    }
  }
}

TEST(TrellisMethod, BitsAreThoseOfCodesAndScales) {
  const Layer layer = random_layer(50, 192, 9);
  for (const int bits : {1, 2, 3, 4}) {
    const QTensor t = testing::quantize("trellis:bits=" + std::to_string(bits), layer.task()).tensor;
    ASSERT_EQ(t.segments.size(), 1u);
    EXPECT_EQ(t.segments[0].encoding, Encoding::trellis);
    EXPECT_EQ(t.segments[0].bits, bits);
    ASSERT_TRUE(t.segments[0].scale_codes);
    // Six bits a scale, and 16 for every 16 rows of 3 groups.
    EXPECT_NEAR(t.bits_per_weight(), bits + 6.0 / 64 + 16.0 * 4 / (50.0 * 192.0), 8.0 / (50 * 192));
  }
  EXPECT_NEAR(testing::quantize("trellis:bits=3,group=-1,scale_bits=0", layer.task()).tensor.bits_per_weight(),
              3 + 16.0 / 192, 1e-3);
}

TEST(TrellisMethod, MoreBitsAndMoreRefinementLowerTheError) {
  const Layer layer = random_layer(48, 192, 11);
  double previous = std::numeric_limits<double>::infinity();
  for (int bits = 1; bits <= 8; ++bits) {
    const double error = testing::quantize("trellis:bits=" + std::to_string(bits), layer.task()).error;
    EXPECT_GT(error, 0);
    EXPECT_LT(error, previous) << bits << " bits";
    previous = error;
  }
  for (const char* recipe : {"trellis:bits=1", "trellis:bits=2,group=-1", "trellis:bits=3,scale_bits=0"}) {
    SCOPED_TRACE(recipe);
    previous = std::numeric_limits<double>::infinity();
    for (const char* rounds : {"0", "1", "3"}) {
      const double error = testing::quantize(std::string(recipe) + ",refine=" + rounds, layer.task()).error;
      EXPECT_LT(error, previous) << rounds << " rounds";
      previous = error;
    }
  }
}

/// A value far beyond its group, on an input far beyond the others (as models with attention sinks have): the scale must reach it.
TEST(TrellisMethod, RareLargeValuesAreReached) {
  Layer layer = random_layer(48, 192, 12);
  for (int64_t r = 0; r < 48; ++r) layer.weight[static_cast<std::size_t>(r * 192 + 70)] *= r % 2 == 0 ? 30.0f : 8.0f;
  for (int64_t c = 0; c < 192; ++c) {
    layer.stats.hessian[static_cast<std::size_t>(70 * 192 + c)] *= 30.0f;
    layer.stats.hessian[static_cast<std::size_t>(c * 192 + 70)] *= 30.0f;
  }
  for (const char* scales : {"0", "6"}) {
    const auto q = testing::quantize(std::string("trellis:bits=4,scale_bits=") + scales, layer.task());
    EXPECT_LT(q.error, 1.5 * testing::quantize("gptq:bits=4,group=64", layer.task()).error) << scales;  // two thousand times, otherwise
  }
}

TEST(TrellisMethod, FromFiveBitsOnItIsGptq) {
  const Layer layer = random_layer(20, 128, 6);
  const std::string options = "bits=5,group=32,scale_bits=5,mse=20,refine=1";
  EXPECT_EQ(testing::dequantize(testing::quantize("trellis:" + options, layer.task()).tensor),
            testing::dequantize(testing::quantize("gptq:" + options, layer.task()).tensor));
}

TEST(TrellisMethod, WithoutStatisticsTheWeightsDecide) {
  const Layer layer = random_layer(35, 100, 21);
  const LinearResult plain = testing::quantize("trellis:bits=3,group=-1", layer.task(false));
  ASSERT_EQ(plain.notes.size(), 2u);
  EXPECT_EQ(plain.notes[0], "no calibration statistics");
  EXPECT_EQ(plain.notes[1], "paths chosen by the weights alone instead");
  EXPECT_LT(plain.error, 0.75 * testing::quantize("rtn:bits=3,group=0,mse=40", layer.task(false)).error);
  Layer nan = layer;
  nan.stats.hessian[static_cast<std::size_t>(101 * 5)] = std::numeric_limits<float>::quiet_NaN();
  const LinearResult same = testing::quantize("trellis:bits=3,group=-1", nan.task());
  EXPECT_EQ(same.notes.at(0), "the Hessian's diagonal holds nan at column 5");
  EXPECT_EQ(testing::dequantize(same.tensor), testing::dequantize(plain.tensor));
}

TEST(TrellisMethod, ZeroRowsStayZeroAndDeadColumnsHarmNothing) {
  Layer layer = random_layer(40, 128, 4);
  std::fill_n(layer.weight.begin(), 3 * 128, 0.0f);
  std::fill_n(layer.weight.begin() + 5 * 128, 64, 0.0f);  // a group of a row
  for (int64_t i = 0; i < 128; ++i) {
    layer.stats.hessian[static_cast<std::size_t>(i * 128 + 9)] = 0;
    layer.stats.hessian[static_cast<std::size_t>(9 * 128 + i)] = 0;
  }
  for (const char* text : {"trellis:bits=3", "trellis:bits=2,scale_bits=0", "trellis:bits=1,group=-1"}) {
    SCOPED_TRACE(text);
    const LinearResult result = testing::quantize(text, layer.task());
    EXPECT_EQ(result.notes.at(0), "1 of 128 input columns never carried a value: 9");
    const std::vector<float> values = testing::dequantize(result.tensor);
    for (std::size_t i = 0; i < 3 * 128; ++i) ASSERT_EQ(values[i], 0.0f);
    EXPECT_LT(result.error, 0.4);
    EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }));
  }
}

// Weights of one magnitude want the largest scale that there is for that magnitude.
TEST(TrellisMethod, LargeWeightsKeepTheirSize) {
  for (const float size : {1e3f, 3e5f, 1e9f}) {
    Layer layer = random_layer(16, 64, 31);
    for (float& w : layer.weight) w = w < 0 ? -size : size;
    for (const char* text : {"trellis:bits=4,scale_bits=0", "trellis:bits=4", "trellis:bits=2,scale_bits=0"}) {
      SCOPED_TRACE(std::string(text) + " at " + std::to_string(size));
      EXPECT_LT(testing::quantize(text, layer.task(false)).error, 0.1);
    }
  }
}

TEST(TrellisMethod, RefusalsSayWhatWasExpected) {
  EXPECT_EQ(parse_recipe("trellis:bits=3,group=32").status().message(),
            "recipe \"trellis:bits=3,group=32\": group_size is 32, expected -1 (one group a row) or, up to 4 bits, a "
            "multiple of 64");
  EXPECT_FALSE(parse_recipe("trellis:scale_bits=2").ok());
  EXPECT_TRUE(parse_recipe("trellis:bits=5,group=32").ok());
}

}  // namespace
}  // namespace nbl::quant
