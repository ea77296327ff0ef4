// A sampler under a grammar, if there is one: how sessions choose tokens, and samplers that work without a session.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "base/status.h"
#include "model/grammar_matcher.h"
#include "model/sampler.h"

namespace nbl::model {

class TokenChooser {
 public:
  /// `grammar`: null: anything goes.
  static Result<TokenChooser> create(Sampler sampler, std::shared_ptr<GrammarEngine> grammar) {
    TokenChooser c(std::move(sampler));
    NBL_TRY(c.begin_grammar(std::move(grammar)));
    return c;
  }
  /// Takes another grammar, from its beginning on.
  Status begin_grammar(std::shared_ptr<GrammarEngine> grammar) {
    grammar_.reset();
    if (grammar == nullptr) return {};
    NBL_ASSIGN(grammar_, GrammarMatcher::create(std::move(grammar)));
    return {};
  }
  TokenChooser clone() const {
    TokenChooser copy(sampler_.clone());
    if (grammar_) copy.grammar_ = grammar_->clone();
    return copy;
  }

  Sampler& sampler() { return sampler_; }
  std::optional<GrammarMatcher>& grammar() { return grammar_; }
  /// The grammar's text is complete, and nothing may follow.
  bool finished() const { return grammar_ && grammar_->finished(); }

  /// The next token, from logits [vocab]; the state stays. `budget`: tokens that may come after this one, in which a grammar's
  /// text is completed; `with_ends`: its ends may be chosen where it may end.
  /// Code::unsupported when the vocabulary has no token that the grammar allows.
  Result<text::TokenId> choose(std::span<const float> logits, int64_t budget, bool with_ends) {
    if (!grammar_) return sampler_.choose(logits);
    if (sampler_.mask_may_follow()) {
      // Most tokens that a model wants are right: then the vocabulary need not be walked.
      NBL_ASSIGN(const text::TokenId token, sampler_.choose(logits));
      NBL_ASSIGN(const bool fine, grammar_->allows(token, budget, with_ends));
      if (fine) return token;
    }
    NBL_ASSIGN(const TokenMask mask, grammar_->mask(budget, with_ends));
    if (std::all_of(mask.begin(), mask.end(), [](uint64_t word) { return word == 0; }))
      return Status(Code::unsupported, "the vocabulary has no token that the grammar allows next");
    return sampler_.choose(logits, mask);
  }
  /// `token` is now part of the output. Code::invalid_argument, and no change, when the grammar does not allow it.
  Status accept(text::TokenId token) {
    if (grammar_) NBL_TRY(grammar_->accept(token));
    sampler_.accept(token);
    return {};
  }

 private:
  explicit TokenChooser(Sampler sampler) : sampler_(std::move(sampler)) {}

  Sampler sampler_;
  std::optional<GrammarMatcher> grammar_;
};

}  // namespace nbl::model
