// Generated tokens as text: nothing is given out that may still become part of a stop string or of a character.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer.h"

namespace nbl::model {

class TextOutput {
 public:
  /// `tokenizer` may be null: then there is no text. Empty stop strings are ignored.
  TextOutput(const text::Tokenizer* tokenizer, std::vector<std::string> stops);

  /// The text that became certain with this token; maybe none. Once stopped() it ends before the stop string.
  Result<std::string> push(text::TokenId id);
  /// What was held back, once no token follows. It may hold a stop string too (incomplete characters became whole).
  Result<std::string> finish();

  bool stopped() const noexcept { return stopped_; }
  const std::string& stop() const noexcept { return stop_; }  ///< the stop string that was met
  const std::string& text() const noexcept { return text_; }  ///< all that was given out

 private:
  std::string release(std::string piece, bool last);

  std::optional<text::StreamDecoder> decoder_;
  std::vector<std::string> stops_;
  std::string held_;  ///< decoded, not given out
  std::string text_, stop_;
  bool stopped_ = false;
};

}  // namespace nbl::model
