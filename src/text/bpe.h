// Byte-pair encoding: the characters (or bytes) of a piece, merged pair by pair in the order of the merges' ranks.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/piece_model.h"

namespace nbl::text {

struct BpeOptions {
  std::optional<std::string> unk_token;
  std::string continuing_prefix;  ///< of every symbol but the first
  std::string end_suffix;         ///< of the last symbol
  bool fuse_unk = false;
  bool byte_fallback = false;  ///< unknown characters become <0xXX> tokens
  bool partial_bytes = false;  ///< where not all of a character's bytes are tokens, those that are
  bool ignore_merges = false;  ///< a piece that is in the vocabulary is one token
};

class BpeModel final : public Model {
 public:
  BpeModel(Vocabulary vocabulary, BpeOptions options);
  void reserve_merges(std::size_t count);
  /// The next merges in rank, left and right of each. Both halves and their concatenation must be in the vocabulary. Fastest with many
  /// at once.
  Status add_merges(std::span<const std::pair<std::string_view, std::string_view>> merges);
  /// A merge of given rank; of several that apply, the lowest rank and then the leftmost goes first.
  Status add_merge(TokenId left, TokenId right, TokenId merged, uint32_t rank);
  /// All merges that make a piece of the vocabulary from two others, ranked by the piece's score, the highest first:
  /// how sentencepiece's bpe models work. Only the pieces marked in `mergeable` take part.
  Status add_scored_merges(std::span<const float> scores, const std::vector<bool>& mergeable);
  /// Call once after the last merge.
  Status build();

  Status tokenize(const Piece& piece, Scratch& scratch, std::vector<TokenId>& out) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  bool takes_bytes() const override { return takes_bytes_; }
  std::string kind() const override { return options_.byte_fallback ? "byte-fallback bpe" : "bpe"; }

 private:
  struct Merge {
    TokenId left = -1;
    TokenId right = -1;
    uint32_t rank = 0;
    TokenId merged = 0;
  };
  const Merge* find_merge(TokenId left, TokenId right) const noexcept;
  void grow(std::size_t slots);
  std::string_view without_prefix(std::string_view right) const noexcept;
  Status tokenize_word(std::string_view word, bool bytes, Scratch& scratch, std::vector<TokenId>& out) const;
  // The symbols that a word starts from, in scratch.symbols.
  Status start(std::string_view word, bool bytes, Scratch& scratch) const;
  void merge_short(Scratch& scratch) const;
  void merge_long(Scratch& scratch) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  std::vector<Merge> merges_;  // open addressing by (left, right), a power of two
  std::size_t merge_count_ = 0;
  uint32_t next_rank_ = 0;
  std::string joined_;  ///< add_merges' own, kept from call to call
  std::array<TokenId, 256> byte_char_{};   // id of the byte-level character of each byte, or -1
  std::array<TokenId, 256> byte_token_{};  // id of <0xXX>, or -1
  std::array<TokenId, 128> ascii_{};       // id of each ASCII character, or -1
  TokenId unk_ = -1;
  bool takes_bytes_ = false;   // a byte's character is spelled in one way, and needs no falling back to bytes
  bool split_spaces_ = false;  // no merge joins something to a following U+2581: words can be taken one by one
};

}  // namespace nbl::text
