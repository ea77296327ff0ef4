#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "memory_checkpoint.h"
#include "model/generation.h"
#include "support/test_isa.h"

namespace nbl::model {
namespace {

std::map<text::TokenId, int> draw(const SamplingOptions& options, const std::vector<float>& logits, int count) {
  Sampler sampler(options);
  std::map<text::TokenId, int> seen;
  for (int i = 0; i < count; ++i) ++seen[*sampler.sample(logits)];
  return seen;
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  EXPECT_EQ(*Sampler({}).sample(std::vector<float>{1, 3, 2, 3}), 1);
  EXPECT_EQ(*Sampler({}).sample(std::vector<float>{NAN, -INFINITY, -5}), 2);
  SamplingOptions one;
  one.temperature = 2;
  one.top_k = 1;
  EXPECT_EQ(*Sampler(one).sample(std::vector<float>{1, 3, 2, 3}), 1);
}

/// The frequencies follow softmax(logits / temperature) on the tokens that the filters keep (chi-square, 1 in 1000).
void expect_distribution(const SamplingOptions& options, const std::vector<float>& logits,
                         const std::vector<double>& want) {
  constexpr int kDraws = 40000;
  const auto seen = draw(options, logits, kDraws);
  double chi = 0;
  int freedom = -1;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const auto it = seen.find(static_cast<text::TokenId>(i));
    const double count = it == seen.end() ? 0 : it->second;
    if (want[i] == 0) {
      EXPECT_EQ(count, 0) << "token " << i << " should have been filtered out";
      continue;
    }
    ++freedom;
    chi += (count - want[i] * kDraws) * (count - want[i] * kDraws) / (want[i] * kDraws);
  }
  EXPECT_LT(chi, freedom + 4 * std::sqrt(2.0 * freedom) + 6) << "chi-square of " << freedom << " degrees";
}

TEST(Sampler, FollowsTheDistribution) {
  const std::vector<float> logits = {1.0f, 0.0f, 2.0f, -1.0f, 0.5f};
  const auto softmax = [&](double temperature, std::vector<bool> keep) {
    std::vector<double> p;
    double total = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      p.push_back(keep[i] ? std::exp(logits[i] / temperature) : 0);
      total += p.back();
    }
    for (double& x : p) x /= total;
    return p;
  };
  SamplingOptions options;
  options.seed = 4;
  options.temperature = 1;
  expect_distribution(options, logits, softmax(1, {true, true, true, true, true}));
  options.temperature = 0.5f;
  expect_distribution(options, logits, softmax(0.5, {true, true, true, true, true}));
  options.top_k = 3;
  expect_distribution(options, logits, softmax(0.5, {true, false, true, false, true}));
  options.top_k = 0;
  options.temperature = 1;
  // Shares: 2 has 0.55, 0 has 0.20, 4 has 0.12, 1 has 0.07, 3 has 0.03.
  options.top_p = 0.5f;
  expect_distribution(options, logits, {0, 0, 1, 0, 0});
  options.top_p = 0.7f;
  expect_distribution(options, logits, softmax(1, {true, false, true, false, false}));
  options.top_p = 0.999f;
  expect_distribution(options, logits, softmax(1, {true, true, true, true, true}));
  options.top_p = 0.7f;
  options.top_k = 4;
  expect_distribution(options, logits, softmax(1, {true, false, true, false, false}));
}

TEST(Sampler, SeedsReproduceAndDiffer) {
  std::vector<float> logits(100);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 7);
  const auto sequence = [&](uint64_t seed) {
    SamplingOptions options;
    options.temperature = 1;
    options.seed = seed;
    Sampler sampler(options);
    std::vector<text::TokenId> ids;
    for (int i = 0; i < 20; ++i) ids.push_back(*sampler.sample(logits));
    return ids;
  };
  EXPECT_EQ(sequence(1), sequence(1));
  EXPECT_NE(sequence(1), sequence(2));
}

TEST(Sampler, RefusesNonsense) {
  const std::vector<float> logits = {1, 2};
  for (const auto& [temperature, k, p] :
       {std::tuple{-1.0f, 0, 1.0f}, std::tuple{NAN, 0, 1.0f}, std::tuple{1.0f, -1, 1.0f}, std::tuple{1.0f, 0, 0.0f},
        std::tuple{1.0f, 0, 1.5f}}) {
    SamplingOptions options;
    options.temperature = temperature;
    options.top_k = k;
    options.top_p = p;
    EXPECT_EQ(Sampler(options).sample(logits).status().code(), Code::invalid_argument);
  }
  EXPECT_FALSE(Sampler({}).sample(std::vector<float>{NAN, INFINITY}).ok());
  EXPECT_FALSE(Sampler({}).sample({}).ok());
}

class Generate : public testing::Test {
 protected:
  void SetUp() override {
    const test::MemoryCheckpoint checkpoint(test::llama_config(), 3);
    ModelOptions options;
    options.compute = {Compute::exact, nbl::test::test_isa()};
    model_ = *Model::load(checkpoint, options, team_, {});
  }
  GenerateResult run(const GenerateOptions& options, int64_t room = 100, const TokenFn& fn = {}) {
    auto session = *Session::create(model_, team_, room);
    const std::vector<text::TokenId> prompt = {5, 6, 7};
    auto result = generate(*session, prompt, options, fn);
    EXPECT_TRUE(result.ok()) << result.status().message();
    return *result;
  }
  Team team_{1};
  std::shared_ptr<const Model> model_;
};

TEST_F(Generate, GreedyEqualsStepByStep) {
  GenerateOptions options;
  options.max_new_tokens = 12;
  options.stop_at_eos = false;
  std::vector<text::TokenId> streamed;
  const GenerateResult result = run(options, 100, [&](text::TokenId id) {
    streamed.push_back(id);
    return true;
  });
  EXPECT_EQ(result.finish_reason, "length");
  EXPECT_EQ(result.ids, streamed);
  ASSERT_EQ(result.ids.size(), 12u);
  std::vector<text::TokenId> ids = {5, 6, 7};
  for (int i = 0; i < 12; ++i) {
    auto session = *Session::create(model_, team_, 100);
    const auto logits = session->append(ids, Session::Logits::last);
    ids.push_back(static_cast<text::TokenId>(std::max_element(logits->begin(), logits->end()) - logits->begin()));
  }
  EXPECT_EQ(std::vector<text::TokenId>(ids.begin() + 3, ids.end()), result.ids);
}

TEST_F(Generate, Stops) {
  GenerateOptions options;
  options.max_new_tokens = 50;
  options.stop_at_eos = false;
  const GenerateResult full = run(options, 10);
  EXPECT_EQ(full.finish_reason, "context");
  EXPECT_EQ(full.ids.size(), 8u) << "seven more fit, and the eighth is known";
  int count = 0;
  EXPECT_EQ(run(options, 100, [&](text::TokenId) { return ++count < 3; }).finish_reason, "cancelled");
  EXPECT_EQ(count, 3);
  options.max_new_tokens = 0;
  EXPECT_TRUE(run(options).ids.empty());

  // The third token that it would say becomes the end of text.
  const test::MemoryCheckpoint again(test::llama_config(), 3);
  test::MemoryCheckpoint ending = again;
  ending.assets["generation_config.json"] = R"({"eos_token_id":)" + std::to_string(full.ids[2]) + "}";
  ModelOptions load_options;
  load_options.compute = {Compute::exact, nbl::test::test_isa()};
  model_ = *Model::load(ending, load_options, team_, {});
  options.max_new_tokens = 50;
  options.stop_at_eos = true;
  const GenerateResult ended = run(options);
  EXPECT_EQ(ended.finish_reason, "eos");
  EXPECT_LE(ended.ids.size(), 2u);
  for (text::TokenId id : ended.ids) EXPECT_NE(id, full.ids[2]);
}

}  // namespace
}  // namespace nbl::model
