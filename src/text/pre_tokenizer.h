// Pre-tokenizers: cut normalized text into the pieces that the model sees one at a time.
#pragma once

#include <memory>
#include <string_view>

#include "base/json.h"
#include "base/parallel.h"
#include "base/status.h"
#include "text/piece_model.h"

namespace nbl::text {

using PieceSink = FunctionRef<bool(const Piece&)>;

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Gives the pieces of `piece` to `out`, in order, until it returns false. Pieces live only during the call. Returns
  /// false when stopped by `out` or by an error, which is then in `error`.
  virtual bool split(const Piece& piece, PieceSink out, Status& error) const = 0;
};

/// From the "pre_tokenizer" member of a tokenizer.json (null gives a null pointer). With raw_bytes a ByteLevel at the
/// end passes bytes on as they are (Piece::bytes) instead of spelling them.
Result<std::unique_ptr<PreTokenizer>> parse_pre_tokenizer(const Json& json, bool raw_bytes);

/// A row of regular expressions, each applied to the pieces of the one before, then raw bytes if `bytes`: what GGUF vocabularies
/// name.
Result<std::unique_ptr<PreTokenizer>> make_pattern_splits(std::span<const std::string_view> patterns, bool bytes);

}  // namespace nbl::text
