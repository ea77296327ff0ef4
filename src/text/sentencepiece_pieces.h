// Text as the pieces that sentencepiece's EncodeAsPieces cuts it into: what scores like spBLEU count. Unlike ids, they tell one
// unknown word from another.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/normalizer.h"
#include "text/tokenizer.h"

namespace nbl::text {

class SentencepiecePieces {
 public:
  /// From a tokenizer.model, unigram or bpe; `origin` names it in messages.
  static Result<SentencepiecePieces> load(std::string_view bytes, std::string_view origin);

  /// Valid UTF-8 in. A run of unknown characters is one piece, as it stands in the normalized text.
  Result<std::vector<std::string>> cut(std::string_view text) const;

 private:
  SentencepiecePieces(std::unique_ptr<Tokenizer> tokenizer, std::unique_ptr<Normalizer> normalizer, TokenId unknown)
      : tokenizer_(std::move(tokenizer)), normalizer_(std::move(normalizer)), unknown_(unknown) {}

  std::unique_ptr<Tokenizer> tokenizer_;  ///< each unknown character a token of its own
  std::unique_ptr<Normalizer> normalizer_;
  TokenId unknown_;
};

}  // namespace nbl::text
