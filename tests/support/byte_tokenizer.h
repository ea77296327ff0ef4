// A tokenizer for tests whose ids can be computed by eye: one token a byte, id = byte + 1; id 0 is BOS and EOS.
#pragma once

#include <string>

#include "text/tokenizer.h"

namespace nbl::testing {

class ByteTokenizer : public text::Tokenizer {
 public:
  explicit ByteTokenizer(bool adds_bos = false, bool has_bos = true) : adds_bos_(adds_bos), has_bos_(has_bos) {}
  Result<std::vector<text::TokenId>> encode(std::string_view utf8, const text::EncodeOptions& options) const override {
    std::vector<text::TokenId> ids;
    if (options.add_special && adds_bos_) ids.push_back(0);
    for (char c : utf8) ids.push_back(static_cast<unsigned char>(c) + 1);
    return ids;
  }
  Result<std::string> decode(std::span<const text::TokenId> ids, bool skip_special) const override {
    std::string text;
    for (text::TokenId id : ids) {
      if (id == 0) {
        if (!skip_special) text += "<s>";
      } else {
        text.push_back(static_cast<char>(id - 1));
      }
    }
    return text;
  }
  Result<std::string> piece(text::TokenId id) const override { return decode({&id, 1}, false); }
  std::optional<text::TokenId> find(std::string_view piece) const override {
    if (piece.size() != 1) return std::nullopt;
    return static_cast<unsigned char>(piece[0]) + 1;
  }
  int64_t vocab_size() const override { return 257; }
  bool is_special(text::TokenId id) const override { return id == 0; }
  std::optional<text::TokenId> bos() const override {
    return has_bos_ ? std::optional<text::TokenId>(0) : std::nullopt;
  }
  std::optional<text::TokenId> eos() const override { return bos(); }
  std::string kind() const override { return "bytes"; }

 private:
  bool adds_bos_, has_bos_;
};

}  // namespace nbl::testing
