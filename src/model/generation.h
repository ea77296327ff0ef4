// Generating: from a prompt to new tokens and their text.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/grammar_matcher.h"
#include "model/model.h"
#include "model/sampler.h"

namespace nbl::model {

/// One thing that happened while generating.
struct TokenEvent {
  static constexpr text::TokenId kText = -1;   ///< no token: text that was held back
  static constexpr text::TokenId kAlive = -2;  ///< no token, no text: between the parts of a long prompt
  int64_t sample = 0;
  text::TokenId id = kText;
  std::string_view text;  ///< what became certain; may be empty
};
/// false stops ("cancelled").
using EventFn = std::function<bool(const TokenEvent&)>;
using TokenFn = std::function<bool(text::TokenId)>;

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
  bool stop_at_eos = true;
  std::vector<std::string> stop;  ///< texts that end the output; they and what follows are no part of the text
  int64_t samples = 1;            ///< independent continuations of one prefill, decoded as a batch
  int64_t logprobs = -1;          ///< of each new token, with so many of the likeliest beside it; -1: none
  int64_t prompt_logprobs = -1;   ///< the same for the tokens of the prompt

  int64_t beams = 1;             ///< above 1: beam search; `samples` is then the number of beams returned
  double length_penalty = 1;     ///< a beam's score is its log probability / length^penalty
  bool early_stopping = false;   ///< end as soon as `beams` sequences have ended
  bool late_stopping = false;    ///< end only when none could become better by growing to its full length ("never")

  int64_t prompt_lookup = 0;      ///< tokens drafted from an earlier place in the text that reads alike; 0: off
  int64_t lookup_ngram = 3;       ///< the longest run of tokens looked for there
  Session* draft = nullptr;       ///< a session of a smaller model with the same vocabulary, which drafts
  int64_t draft_tokens = 4;       ///< tokens it drafts at a time
  bool profile = false;           ///< for the caller: it profiles the session, see Session::set_profile

  std::shared_ptr<GrammarEngine> grammar;  ///< the output must match; null: anything goes
  EventFn on_event;
};

/// One continuation.
struct Generated {
  std::vector<text::TokenId> ids;  ///< new tokens; a stopping end-of-text token is not among them
  std::string text;                ///< before the first stop string; empty for a model without a tokenizer
  /// "length", "eos", "stop", "context" (no room left), "grammar" (nothing may follow), "cancelled"
  std::string finish_reason = "length";
  std::string stop;                        ///< the stop string that was met
  std::vector<PositionLogprobs> logprobs;  ///< of ids
  double score = 0;                        ///< of a beam
};

struct GenerateResult {
  std::vector<text::TokenId> ids;  ///< of the first sample
  std::string finish_reason;       ///< of the first sample
  std::vector<Generated> samples;  ///< at least one
  std::vector<PositionLogprobs> prompt_logprobs;  ///< of the prompt's tokens from the second on
  int64_t drafted = 0, accepted = 0;              ///< tokens of speculation
  double prefill_seconds = 0, decode_seconds = 0;
};

/// Appends the prompt and continues it. The session keeps the prompt and the first sample (all but its last token).
/// Code::limit when the prompt does not fit; Code::invalid_argument for options that make no sense or do not go
/// together.
Result<GenerateResult> generate(Session& session, std::span<const text::TokenId> prompt, const GenerateOptions& options,
                                const TokenFn& on_token = {});

}  // namespace nbl::model
