// Against independent implementations: tests/golden/quant holds their results and the scripts that made them.
#include <gtest/gtest.h>

#include "quant_testing.h"

namespace nbl::quant {
namespace {

using testing::GoldenReader;

TEST(Gptq, EqualsThePublishedAlgorithmInDoublePrecision) {
  GoldenReader golden("gptq.bin");
  ASSERT_FALSE(golden.empty());
  struct Data {
    testing::Layer layer;
  };
  std::vector<Data> data(static_cast<std::size_t>(golden.read_int()));
  for (Data& d : data) {
    d.layer.n = golden.read_int();
    d.layer.k = golden.read_int();
    d.layer.weight = golden.read<float>(d.layer.n * d.layer.k);
    d.layer.stats.k = d.layer.k;
    d.layer.stats.tokens = 3 * d.layer.k;
    d.layer.stats.hessian = golden.read<float>(d.layer.k * d.layer.k);
  }
  const int32_t cases = golden.read_int();
  ASSERT_GT(cases, 0);
  int64_t total = 0, equal = 0;
  for (int32_t index = 0; index < cases; ++index) {
    const testing::Layer& layer = data.at(static_cast<std::size_t>(golden.read_int())).layer;
    const int32_t bits = golden.read_int(), group = golden.read_int(), sym = golden.read_int();
    const int32_t desc_act = golden.read_int(), static_groups = golden.read_int();
    const int64_t groups = group <= 0 ? 1 : (layer.k + group - 1) / group;
    const auto order = golden.read<int32_t>(layer.k);
    const auto codes = golden.read<uint8_t>(layer.n * layer.k);
    const auto scales = golden.read<float>(layer.n * groups);
    const auto zeros = golden.read<float>(layer.n * groups);
    const std::string text = "gptq:bits=" + std::to_string(bits) + ",group=" + std::to_string(group) +
                             ",sym=" + std::to_string(sym) + ",desc_act=" + std::to_string(desc_act) +
                             ",static_groups=" + std::to_string(static_groups) +
                             ",act_group_aware=false,mse=0,refine=0";
    SCOPED_TRACE(text);
    const LinearResult result = testing::quantize(text, layer.task());
    const std::vector<float> value = testing::dequantize(result.tensor);
    int64_t same = 0;
    for (int64_t row = 0; row < layer.n; ++row) {
      for (int64_t p = 0; p < layer.k; ++p) {
        const int64_t column = static_groups != 0 ? p : order[static_cast<std::size_t>(p)];
        const std::size_t g = static_cast<std::size_t>(row * groups + (group <= 0 ? 0 : p / group));
        const float expected =
            scales[g] * (static_cast<float>(codes[static_cast<std::size_t>(row * layer.k + p)]) - zeros[g]);
        same += value[static_cast<std::size_t>(row * layer.k + column)] == expected ? 1 : 0;
      }
    }
    EXPECT_GE(static_cast<double>(same), 0.999 * static_cast<double>(layer.n * layer.k));
    total += layer.n * layer.k;
    equal += same;
  }
  RecordProperty("equal_of", std::to_string(equal) + "/" + std::to_string(total));
}

TEST(Gptaq, EqualsDoublePrecisionAndErrsNoMoreThanThePublishedOrder) {
  GoldenReader golden("gptaq.bin");
  ASSERT_FALSE(golden.empty());
  testing::Layer layer;
  layer.n = golden.read_int();
  layer.k = golden.read_int();
  const int64_t tokens = golden.read_int(), n = layer.n, k = layer.k;
  layer.weight = golden.read<float>(n * k);
  layer.stats.k = k;
  layer.stats.tokens = tokens;
  layer.stats.hessian = golden.read<float>(k * k);
  layer.stats.cross = golden.read<float>(k * k);
  layer.stats.residual = golden.read<float>(n * k);
  const auto x = golden.read<float>(k * tokens), u = golden.read<float>(k * tokens);
  const int32_t cases = golden.read_int();
  ASSERT_GT(cases, 0);
  for (int32_t index = 0; index < cases; ++index) {
    const int32_t bits = golden.read_int(), group = golden.read_int();
    const float alpha = golden.read<float>(1)[0], beta = golden.read<float>(1)[0];
    const int64_t groups = (k + group - 1) / group;
    const auto codes = golden.read<uint8_t>(n * k);
    const auto scales = golden.read<float>(n * groups), zeros = golden.read<float>(n * groups);
    const double published = golden.read<double>(1)[0];
    const std::string text = "gptq:bits=" + std::to_string(bits) + ",group=" + std::to_string(group) +
                             ",alpha=" + std::to_string(alpha) + ",beta=" + std::to_string(beta) +
                             ",act_group_aware=false,mse=0,refine=0";
    SCOPED_TRACE(text);
    const std::vector<float> value = testing::dequantize(testing::quantize(text, layer.task()).tensor);
    int64_t same = 0;
    for (int64_t i = 0; i < n * k; ++i) {
      const std::size_t g = static_cast<std::size_t>(i / k * groups + i % k / group), at = static_cast<std::size_t>(i);
      same += value[at] == scales[g] * (static_cast<float>(codes[at]) - zeros[g]) ? 1 : 0;
    }
    EXPECT_GE(static_cast<double>(same), 0.999 * static_cast<double>(n * k));
    if (published < 0) continue;
    double error = 0;
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t t = 0; t < tokens; ++t) {
        double e = 0;
        for (int64_t c = 0; c < k; ++c) {
          const double xt = static_cast<double>(x[static_cast<std::size_t>(c * tokens + t)]);
          const double ut = static_cast<double>(u[static_cast<std::size_t>(c * tokens + t)]);
          const std::size_t at = static_cast<std::size_t>(row * k + c);
          e += static_cast<double>(layer.weight[at]) * (xt + static_cast<double>(alpha) * (ut - xt)) -
               static_cast<double>(value[at]) * xt;
        }
        error += e * e;
      }
    }
    EXPECT_LE(error, published * 1.01);
  }
}

TEST(Nf4, EqualsBitsandbytesBitForBit) {
  GoldenReader golden("nf4.bin");
  ASSERT_FALSE(golden.empty());
  const int32_t cases = golden.read_int();
  ASSERT_GT(cases, 0);
  for (int32_t index = 0; index < cases; ++index) {
    testing::Layer layer;
    layer.n = golden.read_int();
    layer.k = golden.read_int();
    const int32_t block = golden.read_int();
    SCOPED_TRACE(block);
    layer.weight = golden.read<float>(layer.n * layer.k);
    const auto codes = golden.read<uint8_t>(layer.n * layer.k);
    const auto absmax = golden.read<float>(layer.n * layer.k / block);
    const LinearResult result = testing::quantize("nf4:block=" + std::to_string(block), layer.task(false));
    std::vector<uint8_t> row_codes(static_cast<std::size_t>(layer.k));
    const std::vector<float> value = testing::dequantize(result.tensor);
    for (int64_t row = 0; row < layer.n; ++row) {
      result.tensor.unpack_row_codes(row, row_codes.data());
      for (int64_t i = 0; i < layer.k; ++i) {
        const std::size_t at = static_cast<std::size_t>(row * layer.k + i);
        const float scale = absmax[at / static_cast<std::size_t>(block)];
        if (scale > 0) {  // an all-zero block has no codes that mean anything
          ASSERT_EQ(row_codes[static_cast<std::size_t>(i)], codes[at]) << row << ", " << i;
        }
        // The largest magnitude has code 0 or 15, whose table entry is -1 or 1: the value is the scale itself.
        if (scale > 0 && (codes[at] == 15 || codes[at] == 0)) {
          ASSERT_EQ(std::fabs(value[at]), scale) << row << ", " << i;
        }
        if (scale == 0) {
          ASSERT_EQ(value[at], 0.0f);
        }
      }
    }
  }
}

}  // namespace
}  // namespace nbl::quant
