// The golden checkpoints of every architecture through quantization: what comes out loads and computes nearly the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "dialects/dialects.h"
#include "model/model.h"
#include "pipeline/pipeline.h"
#include "support/golden_model.h"

namespace nbl::pipeline {
namespace {

class QuantizeArchitectures : public ::testing::TestWithParam<std::string> {
 protected:
  std::vector<float> logits(const std::filesystem::path& path) {
    const auto checkpoint = dialects::open(path);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    if (!checkpoint.ok()) return {};
    model::ModelOptions options;
    options.compute = {Compute::exact, best_isa()};
    const auto model = model::Model::load(**checkpoint, options, team_, {});
    EXPECT_TRUE(model.ok()) << model.status().message();
    if (!model.ok()) return {};
    auto session = *model::Session::create(*model, team_, 40);
    const auto all = session->append(golden_.ids, model::Session::Logits::all);
    return {all->begin(), all->end()};
  }
  /// Largest difference of a position's logits before and after, relative to their range: the median position's, because
  /// a token that a router now sends elsewhere changes as much as it likes.
  double change(const std::string& recipe) {
    const auto output = golden_.directory / "out.safetensors";
    if (!quantized(recipe, output)) return INFINITY;
    const std::vector<float> before = logits(golden_.directory.path()), after = logits(output);
    if (before.size() != after.size()) return INFINITY;
    double range = 0;
    for (float v : before) range = std::max(range, std::fabs(static_cast<double>(v)));
    std::vector<double> rows;
    for (std::size_t t = 0; t < golden_.ids.size(); ++t) {
      double worst = 0;
      for (std::size_t i = t * golden_.vocab(); i < (t + 1) * golden_.vocab(); ++i)
        worst = std::max(worst, std::fabs(static_cast<double>(before[i]) - static_cast<double>(after[i])));
      rows.push_back(worst / range);
    }
    std::nth_element(rows.begin(), rows.begin() + 20, rows.end());
    return rows[20];
  }
  std::optional<QuantizeReport> quantized(const std::string& recipe, const std::filesystem::path& output) {
    QuantizeOptions options;
    options.recipe = *quant::parse_recipe(recipe);
    options.calibration.windows = 4;
    options.calibration.length = 16;
    options.calibration.source = "made up";
    for (int i = 0; i < 64; ++i)
      options.calibration.ids.push_back(static_cast<text::TokenId>((i * i * 5 + i) % static_cast<int>(golden_.vocab())));
    const auto input = dialects::open(golden_.directory.path());
    auto report = quantize(**input, output, options, team_, nullptr);
    EXPECT_TRUE(report.ok()) << report.status().message();
    if (!report.ok()) return std::nullopt;
    return std::move(report).value();
  }
  test::GoldenModel golden_{GetParam()};
  Team team_{1};
};

TEST_P(QuantizeArchitectures, EightBitsChangeLittle) { EXPECT_LT(change("rtn:bits=8,group=16"), 0.06); }

INSTANTIATE_TEST_SUITE_P(Variants, QuantizeArchitectures, testing::ValuesIn(test::golden_variants()),
                         [](const auto& info) { return test::test_name(info.param); });

/// Folded scales and Hessians, where norms, producers and experts differ most.
class CalibrateArchitectures : public QuantizeArchitectures {};
TEST_P(CalibrateArchitectures, AwqAndGptqKeepTheModel) {
  EXPECT_LT(change("awq:bits=8,group=16"), 0.06);
  EXPECT_LT(change("gptq:bits=8,group=16"), 0.08);
}
TEST_P(CalibrateArchitectures, RowsMakeGoodEachOthersErrors) {
  const std::string recipe = "gptq:bits=8,group=16,output_tokens=64";
  EXPECT_LT(change(recipe), 0.08);
  const auto report = quantized(recipe, golden_.directory / "out.safetensors");
  ASSERT_TRUE(report.has_value());
  int64_t noted = 0;
  for (const LayerReport& layer : report->layers)
    noted += std::any_of(layer.notes.begin(), layer.notes.end(), [&](const std::string& note) { return note.starts_with("rows make good each other's errors"); });
  // Embeddings narrower than the stream have no backward pass; few tokens go to some experts, and none of one.
  if (GetParam() == "opt-post-norm-projections") {
    EXPECT_EQ(noted, 0);
  } else {
    EXPECT_GE(10 * noted, 7 * static_cast<int64_t>(report->layers.size()));
  }
}
INSTANTIATE_TEST_SUITE_P(Variants, CalibrateArchitectures,
                         testing::Values("gemma3", "gpt2", "gpt-neox", "phi", "opt-post-norm-projections", "olmo-clip",
                                         "falcon-new-decoder", "mixtral", "qwen2-moe-mixed", "deepseek-v3"),
                         [](const auto& info) { return test::test_name(info.param); });

class LearnArchitectures : public QuantizeArchitectures {};
TEST_P(LearnArchitectures, BlocksOfEveryKindAreLearned) {
  const auto report = quantized("autoround:bits=3,group=16,iters=20", golden_.directory / "out.safetensors");
  ASSERT_TRUE(report.has_value());
  int64_t noted = 0;
  for (const LayerReport& layer : report->layers)
    noted += std::any_of(layer.notes.begin(), layer.notes.end(), [&](const std::string& note) { return note.starts_with("learned rounding lowered"); });
  EXPECT_GE(2 * noted, static_cast<int64_t>(report->layers.size()));  // a block may also be found no better
  EXPECT_LT(change("autoround:bits=8,group=16,iters=2"), 0.08);
}
INSTANTIATE_TEST_SUITE_P(Variants, LearnArchitectures, testing::Values("gemma3", "gemma2", "gpt2", "starcoder2", "phi3", "gpt-neox", "bloom", "bloom-six-heads",
                                         "opt-post-norm-projections", "mixtral", "qwen2-moe-mixed", "deepseek-v2", "deepseek-v3"),
                         [](const auto& info) { return test::test_name(info.param); });

}  // namespace
}  // namespace nbl::pipeline
