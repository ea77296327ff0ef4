// AWQ, SmoothQuant and SpQR against float64 NumPy written from their papers: tests/golden/quant/make_calibrated.py.
#include <gtest/gtest.h>

#include "quant_testing.h"

namespace nbl::quant {
namespace {

using testing::GoldenReader;
using testing::Layer;

class Calibrated : public ::testing::Test {
 protected:
  Calibrated() : golden_("calibrated.bin") {
    const int64_t n1 = golden_.read_int(), n2 = golden_.read_int(), k = golden_.read_int();
    stats_.k = k;
    stats_.tokens = golden_.read_int();
    for (Layer* layer : {&first_, &second_}) {
      layer->n = layer == &first_ ? n1 : n2;
      layer->k = k;
      layer->weight = golden_.read<float>(layer->n * k);
    }
    stats_.hessian = golden_.read<float>(k * k);
    stats_.abs_mean = golden_.read<float>(k);
    stats_.abs_max = golden_.read<float>(k);
    read_awq();
    read_smoothquant();
    for (int32_t left = golden_.read_int(); left > 0; --left) {
      const int32_t bits = golden_.read_int();
      const float share = golden_.read<float>(1)[0];
      spqr_.push_back({bits, share, golden_.read<double>(1)[0]});
    }
  }

  struct AwqCase {
    int32_t bits, group, duo;
    std::vector<float> scales, value;
  };
  struct SmoothCase {
    float alpha;
    std::vector<float> scales;
    std::vector<int8_t> codes;
  };
  struct SpqrCase {
    int32_t bits;
    float share;
    double error;
  };

  void read_awq() {
    for (int32_t left = golden_.read_int(); left > 0; --left) {
      AwqCase c{golden_.read_int(), 0, 0, {}, {}};
      c.group = golden_.read_int();
      c.duo = golden_.read_int();
      c.scales = golden_.read<float>(stats_.k);
      c.value = golden_.read<float>(first_.n * stats_.k);
      awq_.push_back(std::move(c));
    }
  }
  void read_smoothquant() {
    for (int32_t left = golden_.read_int(); left > 0; --left) {
      SmoothCase c{golden_.read<float>(1)[0], {}, {}};
      c.scales = golden_.read<float>(stats_.k);
      c.codes = golden_.read<int8_t>(first_.n * stats_.k);
      smooth_.push_back(std::move(c));
    }
  }

  std::vector<float> scales_of(const std::string& text) {
    const auto recipe = parse_recipe(text);
    EXPECT_TRUE(recipe.ok()) << recipe.status().message();
    LinearTask tasks[] = {first_.task(), second_.task()};
    for (LinearTask& task : tasks) task.stats = &stats_;
    const auto scales = recipe->method->input_scales(tasks, recipe->options, testing::context());
    EXPECT_TRUE(scales.ok()) << scales.status().message();
    return scales.ok() ? *scales : std::vector<float>();
  }
  /// The first linear with its columns multiplied by s, its input divided.
  Layer scaled(const std::vector<float>& s) const {
    Layer layer = first_;
    layer.stats = stats_;
    const std::size_t k = s.size();
    for (std::size_t i = 0; i < layer.weight.size(); ++i) layer.weight[i] *= s[i % k];
    for (std::size_t i = 0; i < k * k; ++i) layer.stats.hessian[i] /= s[i / k] * s[i % k];
    return layer;
  }

  GoldenReader golden_;
  Layer first_, second_;
  InputStats stats_;
  std::vector<AwqCase> awq_;
  std::vector<SmoothCase> smooth_;
  std::vector<SpqrCase> spqr_;
};

TEST_F(Calibrated, AwqFindsTheScalesAndTheClippingOfThePaper) {
  ASSERT_EQ(awq_.size(), 5u);
  for (const AwqCase& c : awq_) {
    const std::string options = ":bits=" + std::to_string(c.bits) + ",group=" + std::to_string(c.group);
    SCOPED_TRACE(options + ",duo=" + std::to_string(c.duo));
    const auto s = scales_of("awq" + options + ",duo=" + std::to_string(c.duo));
    ASSERT_EQ(s.size(), c.scales.size());
    for (std::size_t i = 0; i < s.size(); ++i) EXPECT_NEAR(s[i], c.scales[i], 1e-4 * static_cast<double>(c.scales[i])) << i;
    const std::vector<float> value = testing::dequantize(testing::quantize("awq" + options, scaled(c.scales).task()).tensor);
    ASSERT_EQ(value.size(), c.value.size());
    int64_t same = 0;
    for (std::size_t i = 0; i < value.size(); ++i) same += std::fabs(value[i] - c.value[i]) <= 1e-6f ? 1 : 0;
    EXPECT_GE(static_cast<double>(same), 0.995 * static_cast<double>(value.size()));
  }
}

TEST_F(Calibrated, SmoothQuantMovesWhatThePaperMoves) {
  ASSERT_EQ(smooth_.size(), 3u);
  for (const SmoothCase& c : smooth_) {
    SCOPED_TRACE(c.alpha);
    const auto s = scales_of("smoothquant:alpha=" + std::to_string(c.alpha));
    ASSERT_EQ(s.size(), c.scales.size());
    for (std::size_t i = 0; i < s.size(); ++i) EXPECT_NEAR(s[i], c.scales[i], 1e-5 * static_cast<double>(c.scales[i])) << i;
    const LinearResult result = testing::quantize("smoothquant", scaled(c.scales).task());
    std::vector<uint8_t> row(c.scales.size());
    int64_t same = 0;
    for (int64_t r = 0; r < first_.n; ++r) {
      result.tensor.unpack_row_codes(r, row.data());
      for (std::size_t i = 0; i < row.size(); ++i)
        same += row[i] - 128 == c.codes[static_cast<std::size_t>(r) * row.size() + i] ? 1 : 0;
    }
    EXPECT_GE(same, first_.n * first_.k - 2);  // a quotient half way between two codes may differ in float32
  }
}

TEST_F(Calibrated, SpqrErrsNoMoreThanThePapersAlgorithm) {
  ASSERT_EQ(spqr_.size(), 4u);
  Layer layer = first_;
  layer.stats = stats_;
  for (const SpqrCase& c : spqr_) {
    const std::string text = "spqr:bits=" + std::to_string(c.bits) + ",outliers=" + std::to_string(c.share);
    const LinearResult result = testing::quantize(text, layer.task());
    EXPECT_LE(result.error, 1.02 * c.error) << text;
    EXPECT_GT(result.error, 0.2 * c.error) << text;
    const int64_t kept = result.tensor.outliers ? result.tensor.outliers->count : 0;
    EXPECT_LE(kept, static_cast<int64_t>(c.share * static_cast<float>(layer.n * layer.k)) + 1) << text;
  }
}

}  // namespace
}  // namespace nbl::quant
