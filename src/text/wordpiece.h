// WordPiece (longest piece first, from the left) and whole-word vocabularies.
#pragma once

#include <string>

#include "text/piece_model.h"

namespace nbl::text {

struct WordPieceOptions {
  std::string unk_token = "[UNK]";
  std::string continuing_prefix = "##";
  int64_t max_chars = 100;   ///< longer words are unknown
  bool whole_words = false;  ///< WordLevel: a word is a piece or unknown
};

class WordPieceModel final : public Model {
 public:
  static Result<std::unique_ptr<Model>> create(Vocabulary vocabulary, WordPieceOptions options);
  Status tokenize(const Piece& piece, Scratch& scratch, std::vector<TokenId>& out) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::string kind() const override { return options_.whole_words ? "whole words" : "wordpiece"; }

 private:
  WordPieceModel(Vocabulary vocabulary, WordPieceOptions options)
      : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {}
  Vocabulary vocabulary_;
  WordPieceOptions options_;
  TokenId unk_ = -1;
};

}  // namespace nbl::text
