// Gradients of a whole model against finite differences, and that learning with them lowers the divergence.
#include "pipeline/model_tuner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <optional>

#include "base/random.h"
#include "dialects/dialects.h"
#include "pipeline/block_gradient.h"
#include "pipeline/output_gradient.h"
#include "support/golden_model.h"
#include "support/memory_checkpoint.h"

namespace nbl::pipeline {
namespace {

using Floats = std::vector<float>;

/// By the name of a golden architecture, or "llama".
class ModelTunerTest : public ::testing::TestWithParam<std::string> {
 protected:
  static constexpr int64_t kWindows = 2, kLength = 13;

  ModelTunerTest() {
    if (GetParam() != "llama") {
      golden_.emplace(GetParam());
      opened_ = *dialects::open(golden_->directory.path());
    }
    const Json& json = input().config();
    arch_ = *model::find_architecture(json, "test");
    config_ = *arch_->read_config(json, "test");
  }
  const Checkpoint& input() const { return opened_ ? *opened_ : llama_; }
  Floats random_floats(std::size_t count, uint64_t seed) {
    Random random(seed);
    Floats out(count);
    for (float& v : out) v = static_cast<float>(random.normal());
    return out;
  }
  std::size_t stream_floats() const { return static_cast<std::size_t>(kWindows * kLength * config_.hidden); }

  std::optional<test::GoldenModel> golden_;
  std::shared_ptr<const Checkpoint> opened_;
  nbl::testing::MemoryCheckpoint llama_{nbl::testing::MemoryCheckpoint::Shape2{.hidden = 40, .ffn = 56, .heads = 4, .kv_heads = 2}};
  Team team_{2};
  const model::Architecture* arch_ = nullptr;
  model::Config config_;
};

double dot(const Floats& a, const Floats& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

Floats moved(Floats x, const Floats& direction, double step) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += static_cast<float>(step) * direction[i];
  return x;
}

TEST_P(ModelTunerTest, TheModelsEndGivesTheDivergencesGradient) {
  ASSERT_TRUE(OutputGradient::supports(*arch_, config_));
  OutputGradient output = *OutputGradient::create(input(), *arch_, config_, team_, kWindows * kLength, Compute::exact);
  const Floats original = random_floats(stream_floats(), 21), hidden = moved(original, random_floats(stream_floats(), 22), 0.3);
  Floats dx(hidden.size());
  EXPECT_NEAR(*output.run(original.data(), original.data(), nullptr), 0.0, 1e-6);
  const double divergence = *output.run(hidden.data(), original.data(), dx.data());
  EXPECT_GT(divergence, 0.001);
  const Floats norm_gradient = output.norm_gradient();
  const double step = 1e-2;
  for (uint64_t seed : {31u, 32u, 33u}) {
    const Floats way = random_floats(hidden.size(), seed);
    const double slope = (*output.run(moved(hidden, way, step).data(), original.data(), nullptr) -
                          *output.run(moved(hidden, way, -step).data(), original.data(), nullptr)) / (2 * step);
    EXPECT_NEAR(slope, dot(dx, way), 0.03 * std::sqrt(dot(dx, dx)));
    const Floats along = random_floats(output.norm().size(), seed + 5), kept = output.norm();
    output.norm() = moved(kept, along, step);
    const double up = *output.run(hidden.data(), original.data(), nullptr);
    output.norm() = moved(kept, along, -step);
    const double down = *output.run(hidden.data(), original.data(), nullptr);
    output.norm() = kept;
    EXPECT_NEAR((up - down) / (2 * step), dot(norm_gradient, along), 0.03 * std::sqrt(dot(norm_gradient, norm_gradient)));
  }
}

TEST_P(ModelTunerTest, LearningLowersTheDivergenceForAnyTeamAndMemory) {
  ASSERT_TRUE(can_tune_model(*arch_, config_));
  std::vector<text::TokenId> ids;
  Random random(2);
  for (int64_t i = 0; i < kWindows * kLength; ++i) ids.push_back(static_cast<text::TokenId>(random.below(static_cast<uint64_t>(config_.vocab))));
  Floats embedded(stream_floats());
  ASSERT_TRUE(model::embed(input(), *arch_, config_, ids, kLength, embedded.data()).ok());
  Floats original = embedded;
  std::vector<TunedLayer> start(static_cast<std::size_t>(config_.layers));
  quant::GridRule rule;
  rule.bits = 2;
  quant::MethodContext context;
  context.team = &team_;
  for (int64_t l = 0; l < config_.layers; ++l) {
    TunedLayer& layer = start[static_cast<std::size_t>(l)];
    layer.weights = *model::load_layer(input(), *arch_, config_, l);
    ASSERT_TRUE(model::run_layer(layer.weights, *arch_, config_, team_, kWindows, kLength, original.data(), {}, l).ok());
    for (const auto& [part, m] : layer.weights.matrices) {
      quant::AffineCodes codes = quant::AffineCodes::create(m.n, m.k, 32, rule);
      quant::round_to_nearest(m.w, rule, {}, context, &codes);
      layer.codes.emplace(part, std::move(codes));
    }
  }
  ModelTuneData data;
  data.batches = 1;
  data.batch_windows = kWindows;
  data.length = kLength;
  data.load = [&](int64_t, float* x, float* y) {
    std::copy(embedded.begin(), embedded.end(), x);
    std::copy(original.begin(), original.end(), y);
    return Status();
  };
  ModelTuneOptions options;
  options.learning = {40, 0.02, 0.005, 0.005};
  options.compute = Compute::exact;
  const auto tuned = [&](int threads, int64_t bytes) {
    Team team(threads);
    std::vector<TunedLayer> layers = start;
    options.activation_bytes = bytes;
    auto result = tune_model(input(), *arch_, config_, data, options, team, [](int64_t, int64_t) { return Status(); }, &layers);
    EXPECT_TRUE(result.ok()) << result.status().message();
    EXPECT_LT(result->after, 0.5 * result->before);
    return layers;
  };
  const std::vector<TunedLayer> first = tuned(2, int64_t{1} << 30);
  for (const auto& other : {tuned(3, int64_t{1} << 30), tuned(1, 0)}) {
    for (std::size_t l = 0; l < first.size(); ++l) {
      for (const auto& [part, codes] : first[l].codes) {
        EXPECT_EQ(codes.codes, other[l].codes.at(part).codes);
        EXPECT_EQ(codes.scales, other[l].codes.at(part).scales);
      }
      for (const auto& [role, norm] : first[l].weights.norms) EXPECT_EQ(norm.w, other[l].weights.norms.at(role).w);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, ModelTunerTest, ::testing::Values("llama", "gpt2", "gemma2-low-caps", "gemma3", "phi", "gptj"),
                         [](const auto& info) { return test::test_name(info.param); });

}  // namespace
}  // namespace nbl::pipeline
