// Unigram language model: the way of cutting a piece of text whose pieces' log-probabilities have the greatest sum.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "text/piece_model.h"
#include "text/piece_trie.h"

namespace nbl::text {

struct UnigramOptions {
  std::optional<TokenId> unk;
  bool byte_fallback = false;
  bool fuse_unk = true;           ///< neighbouring unknown characters are one token
  bool single_precision = false;  ///< sums rounded to float, as sentencepiece does
};

class UnigramModel final : public Model {
 public:
  /// Scores by id. Ids marked in `skipped` are never produced from text (control tokens and the like).
  static Result<std::unique_ptr<Model>> create(Vocabulary vocabulary, std::vector<double> scores,
                                               UnigramOptions options, const std::vector<bool>& skipped);

  Status tokenize(const Piece& piece, Scratch& scratch, std::vector<TokenId>& out) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::string kind() const override { return "unigram"; }

 private:
  UnigramModel(Vocabulary vocabulary, std::vector<double> scores, UnigramOptions options)
      : vocabulary_(std::move(vocabulary)), scores_(std::move(scores)), options_(options) {}
  Status tokenize_long(std::string_view text, Scratch& scratch, std::vector<TokenId>& out) const;

  Vocabulary vocabulary_;
  std::vector<double> scores_;
  UnigramOptions options_;
  PieceTrie trie_;
  double unk_score_ = 0;
  std::array<TokenId, 256> byte_token_{};
  bool all_bytes_ = false;
  bool unk_in_text_ = false;  ///< a text that spells the unknown token is that token
};

}  // namespace nbl::text
