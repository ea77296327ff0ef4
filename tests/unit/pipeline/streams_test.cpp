// What calibration sees of a model that is half quantized, against whole layers run one after the other.
#include "pipeline/streams.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "support/memory_checkpoint.h"

namespace nbl::pipeline {
namespace {

using model::LayerWeights;
using model::Role;

constexpr int64_t kWindows = 5, kLength = 24;

class StreamsTest : public ::testing::Test {
 protected:
  StreamsTest() {
    arch_ = *model::find_architecture(model_.config(), "test");
    config_ = *arch_->read_config(model_.config(), "test");
    Random random(7);
    for (int64_t i = 0; i < kWindows * kLength; ++i) ids_.push_back(static_cast<text::TokenId>(random.below(257)));
  }

  LayerWeights layer(int64_t l) { return *model::load_layer(model_, *arch_, config_, l); }

  void disturb(LayerWeights::Matrix& m) {
    for (float& w : m.w) w += static_cast<float>(0.02 * random_.normal());
  }

  /// Inputs of every group, and the stream before attention and before the MLP, of one layer run whole.
  struct Seen {
    std::vector<std::vector<float>> x;
    std::vector<float> mid;
  };
  Seen run(const LayerWeights& weights, int64_t l, std::vector<float>& hidden) {
    Seen seen;
    seen.x.resize(arch_->groups.size());
    const model::InputObserver observer = [&](std::size_t g, const float* x, int64_t ldx, int64_t m, int64_t k) -> Status {
      for (int64_t r = 0; r < m; ++r) seen.x[g].insert(seen.x[g].end(), x + r * ldx, x + r * ldx + k);
      return {};
    };
    // The stream before the MLP: that of a layer whose MLP adds nothing.
    LayerWeights silent = weights;
    std::fill(silent.matrices.at(Role::down).w.begin(), silent.matrices.at(Role::down).w.end(), 0.0f);
    seen.mid = hidden;
    EXPECT_TRUE(model::run_layer(silent, *arch_, config_, team_, kWindows, kLength, seen.mid.data(), {}, l).ok());
    EXPECT_TRUE(model::run_layer(weights, *arch_, config_, team_, kWindows, kLength, hidden.data(), observer, l).ok());
    return seen;
  }

  static void expect_product(const std::vector<float>& got, const std::vector<float>& left, const std::vector<float>& right,
                             const char* what) {
    const int64_t tokens = kWindows * kLength;
    const int64_t n = static_cast<int64_t>(left.size()) / tokens, k = static_cast<int64_t>(right.size()) / tokens;
    ASSERT_EQ(got.size(), static_cast<std::size_t>(n * k)) << what;
    double worst = 0, size = 0;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < k; ++j) {
        double sum = 0;
        for (int64_t t = 0; t < tokens; ++t)
          sum += static_cast<double>(left[static_cast<std::size_t>(t * n + i)]) *
                 static_cast<double>(right[static_cast<std::size_t>(t * k + j)]);
        worst = std::max(worst, std::fabs(sum - static_cast<double>(got[static_cast<std::size_t>(i * k + j)])));
        size = std::max(size, std::fabs(sum));
      }
    }
    EXPECT_GT(size, 0) << what;
    EXPECT_LT(worst, 1e-4 * size) << what;
  }
  static std::vector<float> minus(const std::vector<float>& a, const std::vector<float>& b) {
    std::vector<float> out(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) out[i] = a[i] - b[i];
    return out;
  }

  nbl::testing::MemoryCheckpoint model_{nbl::testing::MemoryCheckpoint::Shape2{}};
  Team team_{2};
  const model::Architecture* arch_ = nullptr;
  model::Config config_;
  std::vector<text::TokenId> ids_;
  Random random_{3};
};

/// With inputs kept and without: the same statistics.
class Statistics : public StreamsTest, public ::testing::WithParamInterface<bool> {};

TEST_P(Statistics, EachGroupSeesWhatWasQuantizedBeforeIt) {
  auto streams = Streams::create(
      model_, *arch_, config_, team_, ids_,
      {.windows = kWindows, .length = kLength, .compute = Compute::exact, .original = true, .keep_adding = GetParam()});
  ASSERT_TRUE(streams.ok()) << streams.status().message();
  std::vector<float> hidden(ids_.size() * static_cast<std::size_t>(config_.hidden));
  ASSERT_TRUE(model::embed(model_, *arch_, config_, ids_, kLength, hidden.data()).ok());
  std::vector<float> original = hidden;
  const uint32_t needs = quant::kNeedHessian | quant::kNeedCross | quant::kNeedResidual;
  const auto tick = [](int64_t) { return Status(); };
  const std::size_t groups = arch_->groups.size();
  for (int64_t l = 0; l < 2; ++l) {
    const LayerWeights unquantized = layer(l);
    LayerWeights quantized = unquantized;
    ASSERT_TRUE(streams->begin_layer(unquantized, l).ok());
    const std::vector<float> original_before = original;
    const Seen u = run(unquantized, l, original);
    std::vector<quant::InputStats> stats(groups);
    for (std::size_t g = 0; g < groups; ++g) {
      SCOPED_TRACE(::testing::Message() << "layer " << l << ", " << arch_->groups[g].name);
      ASSERT_TRUE(streams->gather({&g, 1}, {&needs, 1}, g + 1, tick, &stats).ok());
      std::vector<float> passing = hidden;
      const Seen x = run(quantized, l, passing);
      expect_product(stats[g].hessian, x.x[g], x.x[g], "hessian");
      if (l > 0 || g > 0) expect_product(stats[g].cross, x.x[g], minus(u.x[g], x.x[g]), "cross");
      const Role first = arch_->groups[g].linears.front().role;
      if (first == Role::down) expect_product(stats[g].residual, minus(u.mid, x.mid), x.x[g], "residual");
      if (first == Role::attn_out && l > 0)
        expect_product(stats[g].residual, minus(original_before, hidden), x.x[g], "residual");
      for (const model::Part& role : arch_->groups[g].linears) {
        LayerWeights::Matrix& m = quantized.matrices.at(role);
        disturb(m);
        ASSERT_TRUE(streams->replace(role, m).ok());
      }
    }
    ASSERT_TRUE(streams->end_layer(tick).ok());
    run(quantized, l, hidden);
  }
}

INSTANTIATE_TEST_SUITE_P(Kept, Statistics, ::testing::Bool());

/// Batches of 1,024 tokens, so that the products are those in bfloat16 where there are any; the last batch is shorter.
TEST_F(StreamsTest, KeptInputsChangeNoBitOfAnyStatistic) {
  constexpr int64_t windows = 27, length = 100;
  std::vector<text::TokenId> ids;
  for (int64_t i = 0; i < windows * length; ++i) ids.push_back(static_cast<text::TokenId>(random_.below(257)));
  const auto tick = [](int64_t) { return Status(); };
  const std::size_t groups = arch_->groups.size();
  const uint32_t needs = quant::kNeedHessian | quant::kNeedCross | quant::kNeedResidual;
  for (const Compute compute : {Compute::exact, Compute::fast}) {
    std::vector<std::vector<float>> seen[2];
    for (const bool keep : {false, true}) {
      auto streams = Streams::create(model_, *arch_, config_, team_, ids,
                                     {.windows = windows, .length = length, .compute = compute, .original = true, .keep_adding = keep});
      ASSERT_TRUE(streams.ok()) << streams.status().message();
      random_ = Random(11);
      for (int64_t l = 0; l < 2; ++l) {
        LayerWeights weights = layer(l);
        ASSERT_TRUE(streams->begin_layer(weights, l).ok());
        std::vector<quant::InputStats> stats(groups);
        for (std::size_t g = 0; g < groups; ++g) {
          ASSERT_TRUE(streams->gather({&g, 1}, {&needs, 1}, g + 1, tick, &stats).ok());
          for (auto* sums : {&stats[g].hessian, &stats[g].cross, &stats[g].residual}) seen[keep].push_back(std::move(*sums));
          for (const model::Part& role : arch_->groups[g].linears) {
            disturb(weights.matrices.at(role));
            ASSERT_TRUE(streams->replace(role, weights.matrices.at(role)).ok());
          }
        }
        ASSERT_TRUE(streams->end_layer(tick).ok());
      }
    }
    EXPECT_EQ(seen[0], seen[1]);
  }
}

/// The original beside half of the batches: the sums that it takes part in are those of these batches, scaled to all tokens.
TEST_F(StreamsTest, AShareOfTheBatchesIsComparedWithTheOriginal) {
  constexpr int64_t windows = 40, length = 100;  // batches of 10
  std::vector<text::TokenId> ids;
  for (int64_t i = 0; i < windows * length; ++i) ids.push_back(static_cast<text::TokenId>(random_.below(257)));
  const auto tick = [](int64_t) { return Status(); };
  const uint32_t needs = quant::kNeedHessian | quant::kNeedCross | quant::kNeedResidual;
  const auto stats_of = [&](std::span<const text::TokenId> tokens, double share) {
    auto streams = Streams::create(model_, *arch_, config_, team_, tokens,
                                   {.windows = static_cast<int64_t>(tokens.size()) / length, .length = length, .compute = Compute::exact,
                                    .original = true, .original_share = share});
    EXPECT_TRUE(streams.ok());
    LayerWeights weights = layer(0);
    EXPECT_TRUE(streams->begin_layer(weights, 0).ok());
    std::vector<quant::InputStats> stats(arch_->groups.size());
    random_ = Random(11);
    for (std::size_t g = 0; g < stats.size(); ++g) {
      EXPECT_TRUE(streams->gather({&g, 1}, {&needs, 1}, g + 1, tick, &stats).ok());
      for (const model::Part& role : arch_->groups[g].linears) {
        disturb(weights.matrices.at(role));
        EXPECT_TRUE(streams->replace(role, weights.matrices.at(role)).ok());
      }
    }
    return stats;
  };
  const auto half = stats_of(ids, 0.5), whole = stats_of(ids, 1);
  // Batches 0, 1 and 3: the first always, then each at which the share of those so far reaches another whole.
  std::vector<text::TokenId> compared(ids.begin(), ids.begin() + 20 * length);
  compared.insert(compared.end(), ids.begin() + 30 * length, ids.end());
  const auto part = stats_of(compared, 1);
  for (std::size_t g = 1; g < half.size(); ++g) {
    EXPECT_EQ(half[g].hessian, whole[g].hessian);
    for (const auto& [got, want] : {std::pair(&half[g].cross, &part[g].cross), std::pair(&half[g].residual, &part[g].residual)}) {
      ASSERT_EQ(got->size(), want->size());
      for (std::size_t i = 0; i < got->size(); ++i) EXPECT_NEAR((*got)[i], (*want)[i] * 4 / 3, 1e-4 * std::fabs((*want)[i]) + 1e-4);
    }
  }
}

}  // namespace
}  // namespace nbl::pipeline
