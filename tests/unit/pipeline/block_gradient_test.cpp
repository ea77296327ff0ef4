// The block's backward pass against finite differences, its forward pass against the model's.
#include "pipeline/block_gradient.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "pipeline/block_tuner.h"
#include "support/memory_checkpoint.h"

namespace nbl::pipeline {
namespace {

using model::LayerWeights;
using model::Role;

class BlockGradientTest : public ::testing::Test {
 protected:
  static constexpr int64_t kWindows = 2, kLength = 13;

  BlockGradientTest() {
    arch_ = *model::find_architecture(model_.config(), "test");
    config_ = *arch_->read_config(model_.config(), "test");
    weights_ = *model::load_layer(model_, *arch_, config_, 0);
    Random random(5);
    x_.resize(static_cast<std::size_t>(kWindows * kLength * config_.hidden));
    for (float& v : x_) v = static_cast<float>(random.normal());
    direction_ = x_;
    for (float& v : direction_) v = static_cast<float>(random.normal());
  }

  BlockGradient block(const LayerWeights& weights) {
    auto made = BlockGradient::create(config_, 0, team_, kWindows, kLength, Compute::exact);
    EXPECT_TRUE(made.ok()) << made.status().message();
    BlockGradient b = std::move(made).value();
    b.set_norms(weights);
    for (const auto& [role, m] : weights.matrices) EXPECT_TRUE(b.set(role.role, m).ok());
    return b;
  }
  /// A loss that is linear in the output: the gradient of the output is direction_.
  double loss(const LayerWeights& weights) {
    BlockGradient b = block(weights);
    std::vector<float> y(x_.size());
    EXPECT_TRUE(b.forward(x_.data(), y.data()).ok());
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += static_cast<double>(y[i]) * static_cast<double>(direction_[i]);
    return sum;
  }

  nbl::testing::MemoryCheckpoint model_{nbl::testing::MemoryCheckpoint::Shape2{.hidden = 40, .ffn = 56, .heads = 4, .kv_heads = 2}};
  Team team_{2};
  const model::Architecture* arch_ = nullptr;
  model::Config config_;
  LayerWeights weights_;
  std::vector<float> x_, direction_;
};

TEST_F(BlockGradientTest, ForwardIsTheModels) {
  ASSERT_TRUE(BlockGradient::supports(*arch_, config_, 0));
  BlockGradient b = block(weights_);
  std::vector<float> y(x_.size()), expected = x_;
  ASSERT_TRUE(b.forward(x_.data(), y.data()).ok());
  ASSERT_TRUE(model::run_layer(weights_, *arch_, config_, team_, kWindows, kLength, expected.data(), {}, 0).ok());
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 1e-4) << i;
}

TEST_F(BlockGradientTest, BackwardAgreesWithFiniteDifferences) {
  BlockGradient b = block(weights_);
  std::vector<float> y(x_.size());
  ASSERT_TRUE(b.forward(x_.data(), y.data()).ok());
  std::map<Role, std::vector<float>> gradients;
  ASSERT_TRUE(b.backward(direction_.data(), &gradients).ok());
  ASSERT_EQ(gradients.size(), weights_.matrices.size());
  Random random(11);
  for (const auto& [role, m] : weights_.matrices) {
    const std::vector<float>& g = gradients.at(role.role);
    ASSERT_EQ(g.size(), m.w.size());
    double size = 0;
    for (float v : g) size += static_cast<double>(v) * static_cast<double>(v);
    size = std::sqrt(size / static_cast<double>(g.size()));
    EXPECT_GT(size, 0);
    // Along random directions: all elements at once, and a few single ones.
    for (int trial = 0; trial < 6; ++trial) {
      std::vector<float> move(m.w.size());
      if (trial < 3) {
        for (float& v : move) v = static_cast<float>(random.normal());
      } else {
        move[static_cast<std::size_t>(random.below(move.size()))] = 30;
      }
      const double step = 1e-3;
      LayerWeights up = weights_, down = weights_;
      double expected = 0;
      for (std::size_t i = 0; i < move.size(); ++i) {
        up.matrices.at(role).w[i] += static_cast<float>(step) * move[i];
        down.matrices.at(role).w[i] -= static_cast<float>(step) * move[i];
        expected += static_cast<double>(g[i]) * static_cast<double>(move[i]);
      }
      const double slope = (loss(up) - loss(down)) / (2 * step);
      const double scale = trial < 3 ? size * std::sqrt(static_cast<double>(move.size())) : 30 * size;
      EXPECT_NEAR(slope, expected, 0.03 * scale + 0.01 * std::fabs(expected)) << "role " << static_cast<int>(role.role) << ", trial " << trial;
    }
  }
}

TEST_F(BlockGradientTest, TuningLowersTheBlocksErrorAndNeverRaisesIt) {
  // The target: the block as it is. The codes: its weights rounded to nearest at 3 bits.
  std::vector<float> target(x_.size());
  {
    BlockGradient b = block(weights_);
    ASSERT_TRUE(b.forward(x_.data(), target.data()).ok());
  }
  quant::GridRule rule;
  rule.bits = 3;
  LayerWeights rounded = weights_;
  std::map<model::Part, quant::AffineCodes> codes;
  quant::MethodContext context;
  context.team = &team_;
  for (auto& [role, m] : rounded.matrices) {
    quant::AffineCodes c = quant::AffineCodes::create(m.n, m.k, 32, rule);
    quant::round_to_nearest(m.w, rule, {}, context, &c);
    for (int64_t r = 0; r < m.n; ++r) {
      for (int64_t i = 0; i < m.k; ++i) {
        const std::size_t g = static_cast<std::size_t>(r * c.groups() + i / c.group), at = static_cast<std::size_t>(r * m.k + i);
        m.w[at] = c.scales[g] * (static_cast<float>(c.codes[at]) - c.zeros[g]);
      }
    }
    codes.emplace(role, std::move(c));
  }
  TuneData data;
  data.batches = kWindows;
  data.batch_windows = 1;
  data.length = kLength;
  data.hidden = config_.hidden;
  data.load = [&](int64_t batch, float* x, float* t) {
    const std::size_t first = static_cast<std::size_t>(batch * kLength * config_.hidden), count = static_cast<std::size_t>(kLength * config_.hidden);
    std::copy_n(x_.begin() + static_cast<std::ptrdiff_t>(first), count, x);
    std::copy_n(target.begin() + static_cast<std::ptrdiff_t>(first), count, t);
    return Status();
  };
  TuneOptions options;
  options.iterations = 60;
  options.compute = Compute::exact;
  auto result = tune_block(config_, 0, data, options, team_, [](int64_t) { return Status(); }, weights_, &rounded, &codes);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_TRUE(result->changed);
  EXPECT_LT(result->after, 0.7 * result->before);
  // The weights are what the codes stand for.
  for (const auto& [role, c] : codes) {
    const LayerWeights::Matrix& m = rounded.matrices.at(role);
    for (int64_t i = 0; i < m.n * m.k; ++i) {
      const std::size_t g = static_cast<std::size_t>(i / m.k * c.groups() + i % m.k / c.group), at = static_cast<std::size_t>(i);
      ASSERT_EQ(m.w[at], c.scales[g] * (static_cast<float>(c.codes[at]) - c.zeros[g]));
    }
  }
}

}  // namespace
}  // namespace nbl::pipeline
