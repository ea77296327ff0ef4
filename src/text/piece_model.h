// The last step from text to ids: what a pre-tokenized piece becomes.
#pragma once

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace nbl::text {

/// A piece of text on its way to the model.
struct Piece {
  std::string_view text;
  bool at_start = false;  ///< begins where the whole text begins
  bool bytes = false;     ///< raw bytes that stand for the characters byte-level vocabularies write for them
};

/// Words that were tokenized before, in a table of fixed size: a new word takes the place of an old one of the same
/// slot.
class WordCache {
 public:
  WordCache();
  /// Appends the ids of the word and returns true if it is known.
  bool find(std::string_view word, uint64_t hash, std::vector<TokenId>& out) const noexcept;
  void put(std::string_view word, uint64_t hash, const TokenId* ids, std::size_t count) noexcept;
  static bool fits(std::string_view word) noexcept { return word.size() <= kMaxWord; }

 private:
  static constexpr std::size_t kMaxWord = 30;
  static constexpr std::size_t kMaxIds = 8;
  static constexpr std::size_t kSlots = 1 << 14;
  struct Slot {
    uint8_t length;  // 0: empty
    uint8_t count;
    char word[kMaxWord];
    TokenId ids[kMaxIds];
  };
  struct Free {
    void operator()(Slot* p) const noexcept { std::free(p); }
  };
  std::unique_ptr<Slot[], Free> slots_;
};

/// What one encoding at a time needs; kept by the tokenizer between calls.
struct Scratch {
  struct Symbol {
    TokenId id;
    int32_t previous;
    int32_t next;
  };
  struct Candidate {  // small: a text without a space to cut at has one for each byte
    uint32_t rank;
    int32_t position;
  };
  struct Arrival {
    double score = 0;
    int64_t from = -1;
    TokenId id = 0;
  };
  WordCache cache;
  std::string mapped;
  std::vector<Arrival> lattice;  // by byte, the best way to get there
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

class Model {
 public:
  virtual ~Model() = default;
  /// Appends the ids of a piece (never empty, valid UTF-8).
  virtual Status tokenize(const Piece& piece, Scratch& scratch, std::vector<TokenId>& out) const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
  virtual std::string kind() const = 0;
  /// Takes pieces of raw bytes; else a byte-level pre-tokenizer writes the characters that stand for them.
  virtual bool takes_bytes() const { return false; }
};

}  // namespace nbl::text
