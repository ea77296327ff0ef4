// Sampling against closed forms, and what generation promises: stop strings, samples, drafts, saved sessions.
#include "model/generation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "memory_checkpoint.h"
#include "model/drafting.h"
#include "model/session_file.h"
#include "model/text_output.h"
#include "support/byte_tokenizer.h"
#include "support/temp_dir.h"
#include "support/test_isa.h"

namespace nbl::model {
namespace {

using text::TokenId;

std::vector<double> softmax(std::vector<double> logits) {
  double total = 0;
  for (double& x : logits) total += x = std::isinf(x) ? 0 : std::exp(x);
  for (double& x : logits) x /= total;
  return logits;
}

/// Chi-square of draws against the probabilities, 1 in 10,000.
void expect_draws(const SamplingOptions& options, const std::vector<float>& logits, const std::vector<double>& want,
                  std::span<const TokenId> prompt = {}, TokenMask mask = {}) {
  constexpr int kDraws = 30000;
  std::vector<double> seen(want.size(), 0);
  for (int i = 0; i < kDraws; ++i) {
    Sampler sampler(options, static_cast<uint64_t>(i));
    sampler.set_prompt(prompt);
    ++seen[static_cast<std::size_t>(*sampler.choose(logits, mask))];
  }
  double chi = 0, freedom = -1;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (want[i] == 0) {
      EXPECT_EQ(seen[i], 0) << "token " << i;
      continue;
    }
    ++freedom;
    chi += (seen[i] - want[i] * kDraws) * (seen[i] - want[i] * kDraws) / (want[i] * kDraws);
  }
  EXPECT_LT(chi, freedom + 3.7 * std::sqrt(2 * freedom) + 9) << freedom << " degrees of freedom";
}

TEST(Sampling, FollowsClosedForms) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, 3.0f, -1.0f, 2.5f};
  const auto l = [&](std::size_t i) { return static_cast<double>(logits[i]); };
  constexpr double kNo = -INFINITY;
  SamplingOptions o;
  o.temperature = 1;
  o.seed = 11;
  expect_draws(o, logits, softmax({l(0), l(1), l(2), l(3), l(4), l(5)}));
  o.min_p = 0.3f;  // of e^3: above 3 + ln 0.3 = 1.796
  expect_draws(o, logits, softmax({kNo, kNo, l(2), l(3), kNo, l(5)}));
  o.min_p = 0;
  o.temperature = 2;
  expect_draws(o, logits, softmax({l(0) / 2, l(1) / 2, l(2) / 2, l(3) / 2, l(4) / 2, l(5) / 2}));
  o.temperature = 1;
  o.repetition_penalty = 2;  // token 3 halves, token 4 doubles its distance, token 0 stays at 0
  const std::vector<TokenId> prompt = {3, 4, 0, 3};
  expect_draws(o, logits, softmax({l(0), l(1), l(2), 1.5, -2, l(5)}), prompt);
  o.repetition_window = 1;
  expect_draws(o, logits, softmax({l(0), l(1), l(2), 1.5, l(4), l(5)}), prompt);
  o = {};
  o.temperature = 1;
  o.frequency_penalty = 1;
  expect_draws(o, logits, softmax({l(0), l(1), l(2), l(3), l(4), l(5)}), prompt);  // only the output counts
  o = {};
  o.temperature = 1;
  o.logit_bias = {{0, 3.0f}, {3, -INFINITY}};
  o.banned = {1};
  expect_draws(o, logits, softmax({3, kNo, l(2), kNo, l(4), l(5)}));
  const uint64_t mask[] = {0b010110};
  o = {};
  o.temperature = 1;
  o.top_k = 2;  // of what the mask allows
  expect_draws(o, logits, softmax({kNo, l(1), l(2), kNo, kNo, kNo}), {}, mask);
  o = {};
  o.temperature = 0.7f;
  o.typical = 0.6f;
  {
    // By the definition: the smallest set of tokens whose surprise is nearest to the entropy.
    std::vector<double> scaled;
    for (const float x : logits) scaled.push_back(static_cast<double>(x) / 0.7);
    const std::vector<double> p = softmax(scaled);
    double entropy = 0;
    for (const double x : p) entropy -= x * std::log(x);
    std::vector<std::size_t> order = {0, 1, 2, 3, 4, 5};
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return std::abs(-std::log(p[a]) - entropy) < std::abs(-std::log(p[b]) - entropy);
    });
    std::vector<double> kept(6, kNo);
    double mass = 0;
    for (const std::size_t i : order) {
      if (mass >= 0.6) break;
      kept[i] = scaled[i];
      mass += p[i];
    }
    expect_draws(o, logits, softmax(kept));
  }
}

TEST(Sampling, PenaltiesCountTheOutput) {
  SamplingOptions o;
  o.frequency_penalty = 0.5f;
  o.presence_penalty = 0.25f;
  Sampler sampler(o);
  const std::vector<float> logits = {2.0f, 1.1f, 0.0f};
  // 2.0; then 2 - 0.75 = 1.25; then 2 - 1.25 = 0.75 < 1.1; then 1.1 - 0.75 = 0.35 < 0.75.
  std::vector<TokenId> got;
  for (int i = 0; i < 4; ++i) got.push_back(*sampler.sample(logits));
  EXPECT_EQ(got, (std::vector<TokenId>{0, 0, 1, 0}));
}

TEST(Sampling, DryGrowsWithTheRepetition) {
  // 1 2 3 4 | 1 2 3: going on with 4 repeats three tokens: 0.8 * 1.75^(3 - 2) = 1.4.
  SamplingOptions o;
  o.dry.multiplier = 0.8;
  const std::vector<TokenId> prompt = {9, 1, 2, 3, 4, 1, 2, 3};
  std::vector<float> logits(257, -100.0f);
  logits[4] = 2.0f;
  logits[5] = 0.61f;
  const auto choose = [&](const SamplingOptions& options, const text::Tokenizer* tokenizer = nullptr) {
    Sampler sampler(options, 0, tokenizer);
    sampler.set_prompt(prompt);
    return *sampler.choose(logits);
  };
  EXPECT_EQ(choose(o), 5) << "2 - 1.4 = 0.6 < 0.61";
  logits[5] = 0.59f;
  EXPECT_EQ(choose(o), 4);
  o.dry.allowed_length = 4;
  logits[5] = 1.99f;
  EXPECT_EQ(choose(o), 4) << "three tokens are free";
  o.dry.allowed_length = 2;
  o.dry.window = 4;
  EXPECT_EQ(choose(o), 4) << "the window does not reach back";
  o.dry.window = 0;
  EXPECT_EQ(choose(o), 5);
  const nbl::testing::ByteTokenizer bytes;  // token 3 is the byte 2
  o.dry.breakers = {"\x02"};
  EXPECT_EQ(choose(o, &bytes), 4) << "the text ends with a breaker";
}

TEST(Sampling, IsTheSameOnEveryPlatform) {
  // Computed by tests/golden/sampling/reference.py from the generator's definition, in integers and 50-digit decimals.
  SamplingOptions o;
  o.temperature = 1;
  o.seed = 42;
  std::vector<float> logits(50);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 7) * 0.25f;
  Sampler sampler(o, 3);
  std::vector<TokenId> got;
  for (int i = 0; i < 16; ++i) got.push_back(*sampler.sample(logits));
  EXPECT_EQ(got, (std::vector<TokenId>{33, 47, 47, 34, 34, 5, 44, 43, 4, 28, 5, 8, 25, 37, 20, 5}));
}

TEST(Sampling, PortableMathIsAccurate) {
  for (double x = 0; x > -700; x -= 0.37) EXPECT_NEAR(portable_exp(x) / std::exp(x), 1, 1e-13) << x;
  for (double u = 1; u > 1e-16; u *= 0.93) EXPECT_NEAR(portable_minus_log(u), -std::log(u), 1e-15 - 1e-14 * std::log(u)) << u;
  EXPECT_EQ(portable_exp(0), 1);
  EXPECT_EQ(portable_minus_log(1), 0);
}

TEST(TextOutput, HoldsBackWhatMayBecomeAStopString) {
  const nbl::testing::ByteTokenizer bytes;
  TextOutput out(&bytes, {"END", "\n\n"});
  std::string shown;
  for (const char c : std::string("an E or EN\n, then END and more")) {
    const std::string piece = *out.push(static_cast<unsigned char>(c) + 1);
    shown += piece;
    EXPECT_EQ(shown.find("END"), std::string::npos);
    if (c != '\n' && (shown.ends_with("E") || shown.ends_with("EN"))) ADD_FAILURE() << "given out too early: " << shown;
    if (out.stopped()) break;
  }
  EXPECT_TRUE(out.stopped());
  EXPECT_EQ(out.stop(), "END");
  EXPECT_EQ(shown, "an E or EN\n, then ");
  EXPECT_EQ(out.text(), shown);
  TextOutput rest(&bytes, {"END"});
  EXPECT_EQ(*rest.push('E' + 1), "");
  EXPECT_EQ(*rest.finish(), "E");
}

class Generation : public ::testing::Test {
 protected:
  void SetUp() override {
    const test::MemoryCheckpoint checkpoint(test::llama_config(), 3);
    ModelOptions options;
    options.compute = {Compute::exact, nbl::test::test_isa()};
    model_ = *Model::load(checkpoint, options, team_, {});
    const test::MemoryCheckpoint other(test::llama_config(), 4);
    draft_ = *Model::load(other, options, team_, {});
  }
  std::unique_ptr<Session> session(int64_t room = 200) { return *Session::create(model_, team_, room); }
  GenerateResult run(const GenerateOptions& options) {
    auto s = session();
    auto result = generate(*s, prompt_, options);
    EXPECT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(s->position(), static_cast<int64_t>(prompt_.size() + result->ids.size()) - 1);
    return *result;
  }
  Team team_{2};
  std::shared_ptr<const Model> model_, draft_;
  std::vector<TokenId> prompt_ = {5, 6, 7, 5, 6};
};

TEST_F(Generation, SamplesAreTheirOwnStreamsInABatch) {
  GenerateOptions options;
  options.max_new_tokens = 20;
  options.sampling.temperature = 1;
  options.sampling.seed = 9;
  options.stop_at_eos = false;
  const auto one = run(options);
  options.samples = 3;
  const auto three = run(options);
  ASSERT_EQ(three.samples.size(), 3u);
  EXPECT_EQ(three.samples[0].ids, one.ids);
  EXPECT_NE(three.samples[1].ids, three.samples[0].ids);
  EXPECT_NE(three.samples[1].ids, three.samples[2].ids);
  EXPECT_EQ(three.samples[1].ids.size(), 20u);
}

TEST_F(Generation, DraftsChangeNothing) {
  for (const float temperature : {0.0f, 0.5f, 1.5f}) {
    GenerateOptions plain;
    plain.max_new_tokens = 60;
    plain.sampling.temperature = temperature;
    plain.sampling.top_k = 20;
    plain.sampling.seed = 21;
    plain.sampling.frequency_penalty = 0.1f;
    plain.logprobs = 1;
    plain.stop_at_eos = false;
    const auto want = run(plain);
    GenerateOptions lookup = plain;
    lookup.prompt_lookup = 5;
    const auto looked = run(lookup);
    EXPECT_EQ(looked.ids, want.ids);
    ASSERT_EQ(looked.samples[0].logprobs.size(), want.ids.size());
    for (std::size_t i = 0; i < want.ids.size(); ++i)
      EXPECT_EQ(looked.samples[0].logprobs[i].chosen.logprob, want.samples[0].logprobs[i].chosen.logprob);
    for (const auto& drafting : {draft_, model_}) {
      auto s = *Session::create(drafting, team_, 200);
      GenerateOptions drafted = plain;
      drafted.draft = s.get();
      const auto got = run(drafted);
      EXPECT_EQ(got.ids, want.ids);
      EXPECT_GT(got.drafted, 0);
      if (drafting == model_) {
        EXPECT_EQ(got.accepted, got.drafted) << "a model that drafts for itself is always right";
      }
    }
  }
}

/// The same distribution, seen from outside: the first two tokens over many seeds, drafted, against the model's own
/// probabilities.
TEST_F(Generation, DraftedTokensFollowTheModelsDistribution) {
  auto s = session();
  auto drafting = *Session::create(draft_, team_, 200);
  const auto logits = *s->append(prompt_, Session::Logits::last);
  std::vector<double> first(logits.begin(), logits.end());
  for (double& x : first) x /= 0.5;
  const std::vector<double> p = softmax(first);
  constexpr int kDraws = 3000;
  std::vector<double> seen(p.size(), 0);
  GenerateOptions options;
  options.max_new_tokens = 2;
  options.sampling.temperature = 0.5f;
  options.stop_at_eos = false;
  options.draft = drafting.get();
  for (int i = 0; i < kDraws; ++i) {
    options.sampling.seed = static_cast<uint64_t>(i);
    auto one = *Session::create(model_, team_, 16);
    ++seen[static_cast<std::size_t>((*generate(*one, prompt_, options)).ids[0])];
  }
  double chi = 0, freedom = -1, rest_seen = kDraws, rest = 1;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (p[i] * kDraws < 8) continue;
    ++freedom;
    rest -= p[i];
    rest_seen -= seen[i];
    chi += (seen[i] - p[i] * kDraws) * (seen[i] - p[i] * kDraws) / (p[i] * kDraws);
  }
  if (rest * kDraws >= 8) {
    ++freedom;
    chi += (rest_seen - rest * kDraws) * (rest_seen - rest * kDraws) / (rest * kDraws);
  }
  EXPECT_LT(chi, freedom + 3.7 * std::sqrt(2 * freedom) + 9);
}

TEST_F(Generation, LogprobsAreTheModelsOwn) {
  GenerateOptions options;
  options.max_new_tokens = 4;
  options.sampling.temperature = 1;
  options.sampling.top_k = 3;
  options.logprobs = 2;
  options.prompt_logprobs = 1;
  options.stop_at_eos = false;
  const auto r = run(options);
  ASSERT_EQ(r.prompt_logprobs.size(), prompt_.size() - 1);
  ASSERT_EQ(r.samples[0].logprobs.size(), 4u);
  std::vector<TokenId> text = prompt_;
  text.insert(text.end(), r.ids.begin(), r.ids.end());
  auto s = session();
  const auto logits = *s->append(text, Session::Logits::all);
  const auto vocab = static_cast<std::size_t>(model_->config().vocab);
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    const auto row = logits.subspan(i * vocab, vocab);
    double sum = 0;
    for (const float x : row) sum += std::exp(static_cast<double>(x));
    const double want = static_cast<double>(row[static_cast<std::size_t>(text[i + 1])]) - std::log(sum);
    const auto& got = i + 1 < prompt_.size() ? r.prompt_logprobs[i] : r.samples[0].logprobs[i + 1 - prompt_.size()];
    EXPECT_EQ(got.chosen.id, text[i + 1]);
    EXPECT_NEAR(static_cast<double>(got.chosen.logprob), want, 1e-5);
    ASSERT_EQ(got.top.size(), i + 1 < prompt_.size() ? 1u : 2u);
    EXPECT_EQ(got.top[0].id, std::max_element(row.begin(), row.end()) - row.begin());
  }
}

TEST_F(Generation, StopsWithinOneTokenAndKeepsTheSequence) {
  GenerateOptions options;
  options.max_new_tokens = 50;
  options.stop_at_eos = false;
  int events = 0;
  options.on_event = [&](const TokenEvent& e) { return e.id < 0 || ++events < 3; };
  const auto r = run(options);
  EXPECT_EQ(r.finish_reason, "cancelled");
  EXPECT_EQ(r.ids.size(), 3u);
  // A long prompt can be stopped between its parts, and leaves nothing.
  auto s = *Session::create(model_, team_, 2000);
  const std::vector<TokenId> prompt(1500, 5);
  options.on_event = [](const TokenEvent& e) { return e.id != TokenEvent::kAlive; };
  const auto cancelled = *generate(*s, prompt, options);
  EXPECT_EQ(cancelled.finish_reason, "cancelled");
  EXPECT_EQ(s->position(), 0);
}

TEST_F(Generation, RefusesWhatDoesNotGoTogether) {
  auto s = session();
  const auto refused = [&](auto change) {
    GenerateOptions options;
    change(options);
    const auto r = generate(*s, prompt_, options);
    EXPECT_EQ(r.status().code(), Code::invalid_argument);
    EXPECT_EQ(s->position(), 0);
  };
  refused([](GenerateOptions& o) { o.samples = 0; });
  refused([](GenerateOptions& o) { o.samples = 2, o.prompt_lookup = 3; });
  refused([](GenerateOptions& o) { o.beams = 2, o.sampling.temperature = 1; });
  refused([](GenerateOptions& o) { o.beams = 2, o.samples = 3; });
  refused([&](GenerateOptions& o) { o.draft = s.get(); });
  refused([](GenerateOptions& o) { o.sampling.min_p = 2; });
  const std::vector<TokenId> long_prompt(300, 5);
  EXPECT_EQ(generate(*s, long_prompt, {}).status().code(), Code::limit);
}

TEST_F(Generation, SavedSessionsGoOnAsIfNothingHadHappened) {
  const nbl::test::TempDir dir;
  const auto file = dir.path() / "session.bin";
  GenerateOptions options;
  options.max_new_tokens = 10;
  options.stop_at_eos = false;
  auto whole = session();
  const auto first = *generate(*whole, prompt_, options);
  ASSERT_TRUE(save_session(*whole, file).ok());
  const std::vector<TokenId> more = {first.ids.back(), 8};
  const auto want = *generate(*whole, more, options);
  auto again = *Session::create(model_, team_, 300);  // of another size
  ASSERT_TRUE(load_session(*again, file).ok());
  EXPECT_EQ(again->position(), static_cast<int64_t>(prompt_.size()) + 9);
  EXPECT_EQ(generate(*again, more, options)->ids, want.ids);

  auto of_draft = *Session::create(draft_, team_, 300);
  EXPECT_EQ(load_session(*of_draft, file).code(), Code::mismatch);
  SessionOptions half;
  half.max_tokens = 300;
  half.kv_type = KvType::f16;
  EXPECT_EQ(load_session(**Session::create(model_, team_, half), file).code(), Code::mismatch);
  EXPECT_EQ(load_session(**Session::create(model_, team_, 3), file).code(), Code::limit);

  // Every truncation and every flipped byte of the header is refused.
  std::ifstream in(file, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  const auto refuse = [&](const std::string& content) {
    const auto bad = dir.path() / "bad.bin";
    std::ofstream(bad, std::ios::binary) << content;
    auto s = session();
    const Status status = load_session(*s, bad);
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(s->position(), 0);
  };
  for (std::size_t n = 0; n < bytes.size(); n += 1 + n / 3) refuse(bytes.substr(0, n));
  for (std::size_t i = 0; i < 130; ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 0x40);
    refuse(changed);
  }
}

}  // namespace
}  // namespace nbl::model
