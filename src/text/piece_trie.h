// All pieces of a vocabulary that a text begins with.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace nbl::text {

class PieceTrie {
 public:
  /// Pieces must not be empty; of equal ones the last counts.
  void build(std::vector<std::pair<std::string_view, TokenId>> pieces);

  /// Calls fn(length, id) for each piece that `text` begins with, the shortest first.
  template <class Fn>
  void prefixes(std::string_view text, Fn&& fn) const {
    uint32_t node = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      node = child(node, static_cast<unsigned char>(text[i]));
      if (node == 0) return;
      if (nodes_[node].id >= 0) fn(i + 1, nodes_[node].id);
    }
  }

 private:
  struct Node {
    TokenId id = -1;
    uint32_t first = 0;  // edges, in the order of their bytes
    uint32_t count = 0;
  };
  uint32_t child(uint32_t node, unsigned char byte) const noexcept;

  std::vector<Node> nodes_;
  std::vector<unsigned char> labels_;
  std::vector<uint32_t> targets_;
  uint32_t root_[256] = {};
};

}  // namespace nbl::text
