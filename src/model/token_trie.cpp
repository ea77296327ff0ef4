#include "model/token_trie.h"

#include <algorithm>

#include "text/byte_level.h"

namespace nbl::model {
namespace {

constexpr std::size_t kLongest = 255;
constexpr std::string_view kMetaspace = "\xE2\x96\x81";

int hex_digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

std::string token_bytes(const text::Tokenizer& tokenizer, text::TokenId id) {
  if (tokenizer.is_special(id)) return {};
  auto piece = tokenizer.piece(id);
  if (!piece.ok()) return {};
  const std::string kind = tokenizer.kind();
  if (kind.starts_with("byte-level")) {
    auto bytes = text::from_byte_level(*piece);
    return bytes ? std::move(*bytes) : std::move(piece).value();  // an added token stands for itself
  }
  if (kind == "wordpiece" || kind == "whole words") {
    auto text = tokenizer.decode({&id, 1}, true);
    return text.ok() ? std::move(text).value() : std::string();
  }
  if (piece->size() == 6 && piece->starts_with("<0x") && piece->back() == '>') {
    const int high = hex_digit((*piece)[3]), low = hex_digit((*piece)[4]);
    if (high >= 0 && low >= 0) return std::string(1, static_cast<char>(high * 16 + low));
  }
  std::string out;
  for (std::size_t i = 0; i < piece->size();) {
    if (piece->compare(i, kMetaspace.size(), kMetaspace) == 0) {
      out += ' ';
      i += kMetaspace.size();
    } else {
      out += (*piece)[i++];
    }
  }
  return out;
}

std::shared_ptr<const TokenTrie> TokenTrie::create(const text::Tokenizer& tokenizer, int64_t vocab) {
  auto trie = std::make_shared<TokenTrie>();
  trie->vocab = vocab;
  trie->bytes.resize(static_cast<std::size_t>(vocab));
  std::vector<text::TokenId> order;
  for (int64_t id = 0; id < std::min(vocab, tokenizer.vocab_size()); ++id) {
    std::string& bytes = trie->bytes[static_cast<std::size_t>(id)];
    bytes = token_bytes(tokenizer, static_cast<text::TokenId>(id));
    if (bytes.size() > kLongest) bytes.clear();
    if (bytes.empty()) continue;
    trie->longest = std::max(trie->longest, static_cast<int64_t>(bytes.size()));
    order.push_back(static_cast<text::TokenId>(id));
  }
  const auto text = [&](text::TokenId id) -> const std::string& { return trie->bytes[static_cast<std::size_t>(id)]; };
  std::sort(order.begin(), order.end(), [&](text::TokenId a, text::TokenId b) {
    const int c = text(a).compare(text(b));
    return c != 0 ? c < 0 : a < b;
  });
  std::vector<int32_t> path;  // the nodes of the previous token
  const std::string* previous = nullptr;
  const auto close = [&](std::size_t depth) {
    for (; path.size() > depth; path.pop_back())
      trie->end[static_cast<std::size_t>(path.back())] = static_cast<int32_t>(trie->byte.size());
  };
  for (const text::TokenId id : order) {
    const std::string& bytes = text(id);
    std::size_t common = 0;
    if (previous != nullptr)
      while (common < previous->size() && common < bytes.size() && (*previous)[common] == bytes[common]) ++common;
    close(common);
    for (std::size_t i = common; i < bytes.size(); ++i) {
      path.push_back(static_cast<int32_t>(trie->byte.size()));
      trie->byte.push_back(static_cast<uint8_t>(bytes[i]));
      trie->depth.push_back(static_cast<uint8_t>(i + 1));
      trie->end.push_back(0);
      trie->token_begin.push_back(static_cast<int32_t>(trie->tokens.size()));
    }
    trie->tokens.push_back(id);
    previous = &bytes;
  }
  close(0);
  trie->token_begin.push_back(static_cast<int32_t>(trie->tokens.size()));
  return trie;
}

}  // namespace nbl::model
