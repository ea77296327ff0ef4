// The tokens of a vocabulary as byte strings, in a tree that is walked front to back.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "text/tokenizer.h"

namespace nbl::model {

/// The bytes that a token adds to the text in the middle of it; empty for special tokens and those that add none.
/// Byte-level pieces are mapped back to bytes; U+2581 is a space and <0xNN> a byte in the others.
std::string token_bytes(const text::Tokenizer& tokenizer, text::TokenId id);

/// Nodes in depth-first order: the subtree of node i is [i, end[i]), its children lie in it one behind the other.
struct TokenTrie {
  std::vector<uint8_t> byte;   ///< of the edge to the node
  std::vector<uint8_t> depth;  ///< 1 for the first byte of a token
  std::vector<int32_t> end;
  std::vector<int32_t> token_begin;  ///< [nodes + 1] into tokens: the tokens that end at a node
  std::vector<text::TokenId> tokens;
  std::vector<std::string> bytes;  ///< by token id
  int64_t vocab = 0;               ///< ids of the model, those without a token included
  int64_t longest = 0;             ///< bytes of the longest token

  /// `vocab`: number of logits; ids beyond the tokenizer's have no bytes. Tokens of more than 255 bytes are left out.
  static std::shared_ptr<const TokenTrie> create(const text::Tokenizer& tokenizer, int64_t vocab);
};

}  // namespace nbl::model
