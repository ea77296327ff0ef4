// A sampler without a session: for engines that have logits of their own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/status.h"
#include "model/generation_settings.h"
#include "model/token_chooser.h"
#include "model/token_trie.h"

namespace nbl::model {

/// Those of generation_settings() that choose tokens, and "end_tokens".
std::span<const quant::OptionSpec> sampler_settings();

/// Chooses tokens by settings, as a session does. One thread at a time.
class TokenSampler {
 public:
  /// `vocab`: floats in a row of logits. `tokenizer` (may be null) is needed by grammars, schemas and the breakers of dry.
  static Result<TokenSampler> create(int64_t vocab, std::shared_ptr<const text::Tokenizer> tokenizer);
  /// Another one that stands where this one stands; the two share nothing that changes.
  TokenSampler clone() const;

  /// One of sampler_settings(); an empty value takes it back to its default. A grammar begins at the next token.
  /// Code::invalid_argument names the setting, the value and what is allowed.
  Status set(const std::string& name, const std::string& value);
  /// Begins anew: the text before the first choice is `prompt`, the settings stay.
  Status reset(std::span<const text::TokenId> prompt);
  /// The next token; the state stays. None when a grammar's text is complete. `logits`: [vocab].
  Result<std::optional<text::TokenId>> choose(std::span<const float> logits);
  /// `token` is now part of the output.
  Status accept(text::TokenId token);

  int64_t vocab() const { return vocab_; }
  /// Whether the last token that was accepted ends the text.
  bool ended() const { return ended_; }

 private:
  TokenSampler(int64_t vocab, std::shared_ptr<const text::Tokenizer> tokenizer, TokenChooser chooser)
      : vocab_(vocab), tokenizer_(std::move(tokenizer)), chooser_(std::move(chooser)) {}

  Status apply(const GenerationSettings& settings);

  int64_t vocab_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  TokenChooser chooser_;
  std::shared_ptr<const TokenTrie> trie_;  ///< made when a grammar needs it
  GenerationSettings settings_;
  GrammarCache grammar_;
  std::vector<text::TokenId> ends_;
  bool stops_at_ends_ = true;
  bool ended_ = false;
  int64_t most_ = 0;    ///< tokens of output in which a grammar is completed; 0: no bound
  int64_t output_ = 0;  ///< tokens accepted
};

}  // namespace nbl::model
