// PLaMo 2's vocabularies: of the ways of cutting a text the one that costs least, where a piece costs less the greater its score, and a
// character that is none costs its bytes and much more.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "text/piece_model.h"
#include "text/piece_trie.h"

namespace nbl::text {

class PlamoModel final : public Model {
 public:
  /// Scores by id; `bytes` marks the tokens <0x00> to <0xFF>, which must all be there and are no pieces themselves.
  static Result<std::unique_ptr<Model>> create(Vocabulary vocabulary, std::span<const float> scores, const std::vector<bool>& bytes);
  Status tokenize(const Piece& piece, Scratch& scratch, std::vector<TokenId>& out) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::string kind() const override { return "least cost"; }

 private:
  explicit PlamoModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}
  Vocabulary vocabulary_;
  std::vector<int32_t> cost_;  ///< by id, in ten thousandths of the score, negated
  std::array<TokenId, 256> byte_{};
  PieceTrie trie_;
};

}  // namespace nbl::text
