// The tokenizer that all descriptions are made into: added tokens, normalizer, pre-tokenizer, model, template, decoder.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/piece_model.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace nbl::text {

struct PipelineParts {
  std::string origin;
  std::string kind;
  AddedTokens added;
  bool added_as_they_are = false;               // normalized added tokens are not themselves normalized
  std::unique_ptr<Normalizer> normalizer;       // may be null
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // may be null
  std::unique_ptr<Model> model;
  std::unique_ptr<Decoder> decoder;  // null: pieces joined by spaces
  std::vector<TokenId> prefix;       // what add_special puts before
  std::vector<TokenId> suffix;       // and after
  std::optional<TokenId> bos;
  std::optional<TokenId> eos;
};

class PipelineTokenizer final : public Tokenizer {
 public:
  /// Builds what the parts need for work (the search for added tokens).
  static Result<std::unique_ptr<Tokenizer>> create(PipelineParts parts);

  Result<std::vector<TokenId>> encode(std::string_view utf8, const EncodeOptions& options) const override;
  Result<std::string> decode(std::span<const TokenId> ids, bool skip_special) const override;
  Result<std::string> piece(TokenId id) const override;
  std::optional<TokenId> find(std::string_view piece) const override;
  int64_t vocab_size() const override { return vocab_size_; }
  bool is_special(TokenId id) const override;
  std::optional<TokenId> bos() const override { return parts_.bos; }
  std::optional<TokenId> eos() const override { return parts_.eos; }
  std::string kind() const override { return parts_.kind; }

 private:
  explicit PipelineTokenizer(PipelineParts parts) : parts_(std::move(parts)) {}
  Status encode_segment(std::string_view segment, bool at_start, const EncodeOptions& options, Scratch& scratch,
                        std::vector<TokenId>& out) const;
  Status encode_piece(const Piece& piece, Scratch& scratch, std::vector<TokenId>& out) const;
  std::unique_ptr<Scratch> borrow() const;
  void give_back(std::unique_ptr<Scratch> scratch) const;

  PipelineParts parts_;
  int64_t vocab_size_ = 0;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> idle_;  // word caches, warm between calls
};

}  // namespace nbl::text
