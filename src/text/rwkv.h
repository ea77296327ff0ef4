// RWKV's "world" vocabularies: at each place the longest piece, whatever comes after it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/piece_model.h"
#include "text/piece_trie.h"

namespace nbl::text {

/// The bytes that a piece of such a vocabulary file stands for: \t \n \r \xHH, and any other character behind a backslash itself.
/// Code::corrupt for an escape cut short.
Result<std::string> unescape_rwkv_piece(std::string_view piece);

class RwkvModel final : public Model {
 public:
  /// `vocabulary` writes bytes by byte-level characters, as other byte-level vocabularies do. `unknown`: of a byte that no piece
  /// begins with; without one such a text is refused.
  static Result<std::unique_ptr<Model>> create(Vocabulary vocabulary, std::optional<TokenId> unknown);
  Status tokenize(const Piece& piece, Scratch& scratch, std::vector<TokenId>& out) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::string kind() const override { return "longest match"; }

 private:
  RwkvModel(Vocabulary vocabulary, std::optional<TokenId> unknown) : vocabulary_(std::move(vocabulary)), unknown_(unknown) {}
  Vocabulary vocabulary_;
  std::optional<TokenId> unknown_;
  PieceTrie trie_;
};

}  // namespace nbl::text
