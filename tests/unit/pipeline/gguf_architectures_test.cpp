// Every architecture and awkward variant of it to GGUF and back: the same logits, or a refusal that says why.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "dialects/dialects.h"
#include "model/model.h"
#include "pipeline/convert.h"
#include "support/golden_model.h"

namespace nbl::pipeline {
namespace {

using test::GoldenModel;

// What GGUF has no words for, or llama.cpp no architecture.
const std::set<std::string> kRefused = {
    "bloom-six-heads", "cohere-qk-norm", "deepseek-v2-groups", "deepseek-v3-yarn", "falcon-alibi", "falcon-one-norm",
    "falcon-rope-sequential", "gemma-gelu", "gemma2", "gemma2-low-caps", "gemma2-no-caps", "gemma3", "gemma3-scaled",
    "gpt-neox-sequential", "gpt2-by-layer", "gpt2-unscaled", "gptj-whole", "llama-dynamic", "llama-gelu-tanh", "llama-mish",
    "llama-quick-gelu", "llama-relu", "llama-relu2", "llama-sigmoid", "llama-tanh", "llama-yarn-mscale",
    "mpt-five-heads", "olmo-clip", "olmo2-bias", "opt", "opt-no-final-norm", "opt-post-norm-projections",
    "opt-wide-embedding", "phi-qk-norm", "qwen2-moe-mixed", "qwen3-moe-sparse-step", "qwen3-window", "smollm3",
    "smollm3-window", "stablelm-qk-norm"};

std::vector<float> logits(const Checkpoint& checkpoint, const std::vector<text::TokenId>& ids, Team& team) {
  model::ModelOptions options;
  options.compute = {Compute::exact, best_isa()};
  const auto loaded = model::Model::load(checkpoint, options, team, {});
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  if (!loaded.ok()) return {};
  auto session = model::Session::create(*loaded, team, static_cast<int64_t>(ids.size()));
  EXPECT_TRUE(session.ok()) << session.status().message();
  const auto all = (*session)->append(ids, model::Session::Logits::all);
  EXPECT_TRUE(all.ok()) << all.status().message();
  return {all->begin(), all->end()};
}

class GgufArchitectures : public testing::TestWithParam<std::string> {};

TEST_P(GgufArchitectures, ComeBackWithTheSameLogits) {
  const GoldenModel golden(GetParam());
  Team team(1);
  const auto original = dialects::open(golden.directory.path());
  ASSERT_TRUE(original.ok()) << original.status().message();
  test::TempDir dir;
  ConvertOptions options;
  options.format = "gguf";
  options.allow_lossy = true;  // 1 + w in float32 rounds these norm weights
  const auto report = convert(**original, dir / "model.gguf", options, team, {});
  const bool refused = !report.ok() || !report->written;
  const std::string why = !report.ok() ? report.status().message() : refused ? report->refused.front() : std::string();
  ASSERT_EQ(refused, kRefused.contains(GetParam())) << why;
  if (refused) {
    EXPECT_FALSE(report.ok() && report->refused.empty());
    EXPECT_NE(why.find("the native format"), std::string::npos) << why;
    return;
  }
  const auto written = dialects::open(dir / "model.gguf");
  ASSERT_TRUE(written.ok()) << written.status().message();
  for (const std::string& warning : (*written)->warnings()) ADD_FAILURE() << warning;
  const std::vector<float> before = logits(**original, golden.ids, team), after = logits(**written, golden.ids, team);
  ASSERT_EQ(before.size(), after.size());
  float range = 0, worst = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    range = std::max(range, std::fabs(before[i]));
    worst = std::max(worst, std::fabs(before[i] - after[i]));
  }
  EXPECT_GT(range, 0.1f);
  EXPECT_LT(worst, 2e-6f * range);
}

INSTANTIATE_TEST_SUITE_P(Variants, GgufArchitectures, testing::ValuesIn(test::golden_variants()),
                         [](const auto& info) { return test::test_name(info.param); });

}  // namespace
}  // namespace nbl::pipeline
