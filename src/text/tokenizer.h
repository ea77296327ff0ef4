// Tokenizer: text to ids and back, whatever description it was loaded from.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace nbl::text {

using TokenId = int32_t;

struct EncodeOptions {
  bool add_special = false;   ///< what the post-processor adds (BOS, EOS)
  bool parse_special = true;  ///< special tokens that appear literally in the text become their ids
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual Result<std::vector<TokenId>> encode(std::string_view utf8, const EncodeOptions& options) const = 0;
  /// Bytes of the decoded text. Invalid UTF-8 that the tokens spell is replaced as the tokenizer's decoder does.
  virtual Result<std::string> decode(std::span<const TokenId> ids, bool skip_special) const = 0;
  /// The token as stored in the vocabulary ("Ġthe").
  virtual Result<std::string> piece(TokenId id) const = 0;
  virtual std::optional<TokenId> find(std::string_view piece) const = 0;
  virtual int64_t vocab_size() const = 0;  ///< largest id + 1
  virtual bool is_special(TokenId id) const = 0;
  virtual std::optional<TokenId> bos() const = 0;
  virtual std::optional<TokenId> eos() const = 0;
  virtual std::string kind() const = 0;  ///< "byte-level bpe", ...
};

/// Hugging Face tokenizer.json, with tokenizer_config.json where there is one (may be empty). `origin` names it in
/// messages.
Result<std::unique_ptr<Tokenizer>> load_tokenizer_json(std::string_view tokenizer_json,
                                                       std::string_view tokenizer_config, std::string_view origin);
/// The tokenizer.* metadata of a GGUF file, as the JSON object of its key-values.
Result<std::unique_ptr<Tokenizer>> load_tokenizer_gguf(const Json& metadata, std::string_view origin);
/// sentencepiece's tokenizer.model, with tokenizer_config.json where there is one (may be empty).
Result<std::unique_ptr<Tokenizer>> load_tokenizer_sentencepiece(std::string_view bytes,
                                                                std::string_view tokenizer_config,
                                                                std::string_view origin);
/// llama2.c's tokenizer.bin. vocab_size comes from the model.
Result<std::unique_ptr<Tokenizer>> load_tokenizer_llama2c(std::string_view bytes, int64_t vocab_size,
                                                          std::string_view origin);

/// Decodes a stream of tokens without ever emitting half a character.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  /// The text that became certain with this token; may be empty.
  Result<std::string> push(TokenId id);
  /// What is left, incomplete bytes replaced.
  Result<std::string> finish();

 private:
  Status settle();
  Result<bool> shorten(std::string_view incomplete);
  const Tokenizer* tokenizer_;
  bool skip_special_;
  bool has_context_ = false;  // window_[0] was there before
  std::size_t settled_ = 0;   // tokens of window_ that left nothing incomplete
  std::vector<TokenId> window_;
  std::string shown_;  // what of the window's text is out
};

}  // namespace nbl::text
