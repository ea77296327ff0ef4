// Against the packages themselves: bitsandbytes and hqq. tests/golden/quant holds their results and the scripts that made them.
#include <gtest/gtest.h>

#include <cmath>

#include "quant/codebook4.h"
#include "quant_testing.h"

namespace nbl::quant {
namespace {

using testing::GoldenReader;

/// -0 and 0 are the same value.
void expect_equal(const std::vector<float>& found, const std::vector<float>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) ASSERT_EQ(found[i], expected[i]) << "element " << i;
}

void expect_four_bit(GoldenReader& golden, const testing::Layer& layer, const std::string& method, int block, bool nested) {
  const auto codes = golden.read<uint8_t>(layer.n * layer.k);
  const auto values = golden.read<float>(layer.n * layer.k);
  const LinearResult result = testing::quantize(
      method + ":block=" + std::to_string(block) + ",nested=" + (nested ? "true" : "false"), layer.task(false));
  const Segment& segment = result.tensor.segments.front();
  std::vector<uint8_t> row(static_cast<std::size_t>(layer.k));
  for (int64_t r = 0; r < layer.n; ++r) {
    result.tensor.unpack_row_codes(r, row.data());
    for (int64_t c = 0; c < layer.k; ++c) {
      const uint8_t found = row[static_cast<std::size_t>(c)];
      const uint8_t expected = codes[static_cast<std::size_t>(r * layer.k + c)];
      // fp4 has two zeros.
      if (segment.table[found] == 0.0f && segment.table[expected] == 0.0f) continue;
      ASSERT_EQ(found, expected) << "row " << r << ", column " << c;
    }
  }
  expect_equal(testing::dequantize(result.tensor), values);
  if (!nested) return;
  ASSERT_TRUE(segment.scale_codes.has_value());
  const ScaleCodes& scales = *segment.scale_codes;
  const int64_t blocks = (layer.n * layer.k + block - 1) / block, supers = (blocks + 255) / 256;
  const int64_t repeat = (layer.n * segment.groups() + blocks - 1) / blocks;
  EXPECT_EQ(scales.shift, golden.read<float>(1)[0]);
  const auto absmax = golden.read<uint8_t>(blocks);
  for (int64_t b = 0; b < blocks; ++b) EXPECT_EQ(scales.code_at(b * repeat), absmax[static_cast<std::size_t>(b)]) << b;
  const auto stored = scales.supers.as<float>();
  expect_equal({stored.begin(), stored.end()}, golden.read<float>(supers));
  const auto map = golden.read<float>(256);
  expect_equal({dynamic_map().begin(), dynamic_map().end()}, map);
}

TEST(Bitsandbytes, NestedFp4AndInt8AreEqualBitForBit) {
  GoldenReader golden("bnb.bin");
  ASSERT_FALSE(golden.empty());
  const int32_t cases = golden.read_int();
  ASSERT_GT(cases, 0);
  for (int32_t index = 0; index < cases; ++index) {
    SCOPED_TRACE(index);
    const int32_t kind = golden.read_int();
    testing::Layer layer;
    layer.n = golden.read_int();
    layer.k = golden.read_int();
    const int32_t block = golden.read_int();
    layer.weight = golden.read<float>(layer.n * layer.k);
    if (kind < 2) {
      expect_four_bit(golden, layer, kind == 0 ? "nf4" : "fp4", std::abs(block), block < 0);
      continue;
    }
    const auto codes = golden.read<int8_t>(layer.n * layer.k);
    const auto maxima = golden.read<float>(layer.n);
    const LinearResult result = testing::quantize("int8", layer.task(false));
    std::vector<uint8_t> row(static_cast<std::size_t>(layer.k));
    for (int64_t r = 0; r < layer.n; ++r) {
      result.tensor.unpack_row_codes(r, row.data());
      for (int64_t c = 0; c < layer.k; ++c) {
        ASSERT_EQ(row[static_cast<std::size_t>(c)] - 128, codes[static_cast<std::size_t>(r * layer.k + c)]);
      }
      const float* scale = result.tensor.segments[0].scales.as<float>().data() + r;
      EXPECT_FLOAT_EQ(*scale * 127.0f, maxima[static_cast<std::size_t>(r)]);
    }
  }
}

TEST(Kquant, LosesNoMoreThanLlamaCppInAnyType) {
  GoldenReader golden("kquant.bin");
  ASSERT_FALSE(golden.empty());
  testing::Layer layer;
  layer.n = golden.read_int();
  layer.k = layer.stats.k = golden.read_int();
  layer.stats.tokens = 1;
  layer.weight = golden.read<float>(layer.n * layer.k);
  layer.stats.square = golden.read<float>(layer.k);
  const int32_t types = golden.read_int();
  ASSERT_EQ(types, 12);
  for (int32_t index = 0; index < types; ++index) {
    const std::string type(golden.read<char>(8).data());
    const auto theirs = golden.read<double>(2);
    const auto value = testing::dequantize(testing::quantize("kquant:feedback=false,type=" + type, layer.task()).tensor);
    double error = 0, size = 0;
    for (std::size_t i = 0; i < value.size(); ++i) {
      const double h = static_cast<double>(layer.stats.square[i % static_cast<std::size_t>(layer.k)]);
      const double w = static_cast<double>(layer.weight[i]), e = w - static_cast<double>(value[i]);
      error += h * e * e;
      size += h * w * w;
    }
    EXPECT_LE(error / size, theirs[0]) << type;
    EXPECT_LE(error / size, theirs[1]) << type;
    RecordProperty(type + "_of_llama_cpp", std::to_string(error / size / theirs[0]));
  }
}

TEST(Hqq, EqualsThePackage) {
  GoldenReader golden("hqq.bin");
  ASSERT_FALSE(golden.empty());
  const int32_t cases = golden.read_int();
  ASSERT_GT(cases, 0);
  for (int32_t index = 0; index < cases; ++index) {
    const int32_t bits = golden.read_int(), group = golden.read_int();
    testing::Layer layer;
    layer.n = golden.read_int();
    layer.k = golden.read_int();
    layer.weight = golden.read<float>(layer.n * layer.k);
    const auto codes = golden.read<uint8_t>(layer.n * layer.k);
    const int64_t groups = layer.k / group;
    const auto scales = golden.read<float>(layer.n * groups);
    const auto zeros = golden.read<float>(layer.n * groups);
    const std::string text = "hqq:bits=" + std::to_string(bits) + ",group=" + std::to_string(group) + ",refine=0";
    SCOPED_TRACE(text);
    const LinearResult result = testing::quantize(text, layer.task(false));
    const auto value = testing::dequantize(result.tensor);
    int64_t same = 0, near = 0;
    double ours = 0, theirs = 0;
    std::vector<uint8_t> row(static_cast<std::size_t>(layer.k));
    for (int64_t r = 0; r < layer.n; ++r) {
      result.tensor.unpack_row_codes(r, row.data());
      for (int64_t c = 0; c < layer.k; ++c) {
        const std::size_t at = static_cast<std::size_t>(r * layer.k + c);
        const std::size_t g = static_cast<std::size_t>(r * groups + c / group);
        const float expected = scales[g] * (static_cast<float>(codes[at]) - zeros[g]);
        same += row[static_cast<std::size_t>(c)] == codes[at] ? 1 : 0;
        // Scales and zeros are stored as f16, the package's were left in f32.
        const float tolerance = 1e-3f * (std::fabs(expected) + std::fabs(scales[g] * zeros[g]) + scales[g]);
        near += std::fabs(value[at] - expected) <= tolerance ? 1 : 0;
        ours += std::pow(std::fabs(static_cast<double>(layer.weight[at] - value[at])), 0.7);
        theirs += std::pow(std::fabs(static_cast<double>(layer.weight[at] - expected)), 0.7);
      }
    }
    // The rounds are a fixed-point iteration: where a weight falls half way between two codes, the last bit of a float32 mean decides
    // which fixed point the group ends in.
    const double count = static_cast<double>(layer.n * layer.k);
    EXPECT_GE(static_cast<double>(same), 0.985 * count);
    EXPECT_GE(static_cast<double>(near), (bits == 1 ? 0.85 : 0.93) * count);
    EXPECT_LE(ours, 1.005 * theirs);
    // Refitting lowers the squared error further.
    const std::string refined = "hqq:bits=" + std::to_string(bits) + ",group=" + std::to_string(group);
    EXPECT_LE(testing::quantize(refined, layer.task(false)).error, result.error);
  }
}

}  // namespace
}  // namespace nbl::quant
