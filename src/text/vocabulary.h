// Pieces and their ids, both ways, in two flat arrays.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bounds.h"
#include "base/status.h"
#include "text/tokenizer.h"

namespace nbl::text {

/// A vocabulary may not have more ids than this; the largest published ones have about 300,000.
inline constexpr BoundOf<int64_t> kMaxTokens{Bound::tokenizer_tokens};

uint64_t hash_bytes(std::string_view text) noexcept;

class Vocabulary {
 public:
  void reserve(std::size_t tokens, std::size_t bytes);
  /// Adds a piece. A piece given twice is found under its last id; an id given twice is an error.
  Status insert(std::string_view piece, int64_t id);
  std::optional<TokenId> find(std::string_view piece) const noexcept;
  /// find() of several pieces, -1 for those that are not there. Memory is asked for all of them before any is waited for: a large table
  /// answers many times as fast. ids [pieces].
  void find_all(std::span<const std::string_view> pieces, TokenId* ids) const noexcept;
  bool has(TokenId id) const noexcept {
    return id >= 0 && static_cast<std::size_t>(id) < entries_.size() && entries_[static_cast<std::size_t>(id)].end > 0;
  }
  /// Empty when there is none of that id.
  std::string_view piece(TokenId id) const noexcept;
  int64_t size() const noexcept { return static_cast<int64_t>(entries_.size()); }  ///< largest id + 1
  std::size_t count() const noexcept { return count_; }
  std::size_t distinct() const noexcept { return used_; }  ///< pieces, each counted once

 private:
  struct Entry {
    uint32_t begin = 0;
    uint32_t end = 0;  ///< one more than the byte behind it; 0: there is none of this id
  };
  struct Slot {
    uint32_t hash = 0;
    int32_t id = -1;
  };
  void grow(std::size_t slots);
  std::optional<TokenId> find_hashed(std::string_view piece, uint32_t hash) const noexcept;
  std::string_view text(const Entry& e) const noexcept { return {bytes_.data() + e.begin, e.end - 1 - e.begin}; }

  std::string bytes_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;  // open addressing, a power of two
  std::size_t used_ = 0;
  std::size_t count_ = 0;
};

}  // namespace nbl::text
