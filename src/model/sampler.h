// Choosing tokens from logits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/tokenizer.h"

namespace nbl::model {

/// Against loops ("don't repeat yourself"): a token that would go on a repetition of n tokens of the text is made
/// less likely by multiplier * base^(n - allowed_length). A repetition does not reach across a breaker.
struct DryOptions {
  double multiplier = 0;  ///< 0: off
  double base = 1.75;
  int64_t allowed_length = 2;
  int64_t window = 0;  ///< tokens looked back; 0: all
  std::vector<std::string> breakers = {"\n", ":", "\"", "*"};
};

/// Applied in this order: bias, bans, penalties, the constraint's mask; temperature; then top_k, top_p, min_p and
/// typical, each on the distribution that the one before it left, renormalized.
struct SamplingOptions {
  float temperature = 0;            ///< 0: greedy
  int32_t top_k = 0;                ///< 0: off
  float top_p = 1;                  ///< 1: off
  float min_p = 0;                  ///< tokens below this share of the likeliest one's probability are out; 0: off
  float typical = 1;                ///< locally typical sampling (Meister et al., 2022); 1: off
  float repetition_penalty = 1;     ///< of prompt and output: positive logits are divided, negative multiplied
  float frequency_penalty = 0;      ///< subtracted for each time that the output holds the token
  float presence_penalty = 0;       ///< subtracted once when the output holds it
  int64_t repetition_window = 0;    ///< tokens that repetition_penalty looks back; 0: all
  DryOptions dry;
  std::vector<std::pair<text::TokenId, float>> logit_bias;  ///< added; -infinity bans
  std::vector<text::TokenId> banned;
  uint64_t seed = 0;
};

/// A set of token ids, a bit each; bit i of word i / 64.
using TokenMask = std::span<const uint64_t>;

/// Chooses tokens one after another. Ties go to the lower id.
///
/// The randomness is a function of seed, stream, number of the choice and token id (splitmix64 as a counter-based
/// generator), in integers; the token with the smallest -log(u) / p wins, which has probability p. So the same logits
/// give the same token on every platform, a choice can be repeated, and a draft that is sampled with the same seed
/// agrees as often as the distributions do.
class Sampler {
 public:
  /// `stream`: samples of one prompt differ by it. `tokenizer` (may be null) tells which tokens break repetitions; it must
  /// outlive the sampler.
  explicit Sampler(const SamplingOptions& options, uint64_t stream = 0, const text::Tokenizer* tokenizer = nullptr);
  ~Sampler();
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;
  /// Another one that stands where this one stands.
  Sampler clone() const;

  /// Code::invalid_argument when the options make no sense.
  static Status check(const SamplingOptions& options);
  /// Goes on by other options; what was said so far stays.
  void set_options(const SamplingOptions& options, uint64_t stream = 0);
  /// The text before the first choice, for the penalties.
  void set_prompt(std::span<const text::TokenId> tokens);
  /// The token that this choice gives, among those of `allowed` (empty: all); the state stays. Calling it again with the
  /// same logits gives the same. Code::invalid_argument when no allowed logit is a finite number.
  Result<text::TokenId> choose(std::span<const float> logits, TokenMask allowed = {});
  /// Goes on to the next choice: `token` is now part of the output.
  void accept(text::TokenId token);
  /// Takes the last `count` accepted tokens back.
  void rewind(int64_t count);
  /// True when a token that choose() gives without a mask, and that the mask allows, is what it gives with the mask: when no
  /// filter looks at the whole distribution.
  bool mask_may_follow() const;
  /// choose() and accept() in one.
  Result<text::TokenId> sample(std::span<const float> logits);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A token with its natural log probability.
struct TokenLogprob {
  text::TokenId id = -1;
  float logprob = 0;
};
/// What the model itself (no penalty, no temperature, no mask) gives one position of the text.
struct PositionLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;  ///< likeliest first; ties to the lower id
};
PositionLogprobs position_logprobs(std::span<const float> logits, text::TokenId chosen, int64_t top);
/// log(sum(exp(logits))), in double.
double log_sum_exp(std::span<const float> logits);

// exp for x <= 0 and -log for 0 < u <= 1, from additions and multiplications only: the same bits on every platform.
// Relative error below 1e-14.
double portable_exp(double x) noexcept;
double portable_minus_log(double u) noexcept;

}  // namespace nbl::model
