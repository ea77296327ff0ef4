// Tokens that are cut out of the text before the model sees it: special tokens and those added after training.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "text/multi_matcher.h"
#include "text/tokenizer.h"

namespace nbl::text {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;  ///< only between non-word characters
  bool lstrip = false;       ///< swallows the white space before it
  bool rstrip = false;       ///< and after it
  bool normalized = false;   ///< looked for in normalized text
  bool special = false;
};

class AddedTokens {
 public:
  /// Code::limit when the contents are too many or too long. A content given again is ignored.
  Status add(AddedToken token);
  /// Call once after the last add(). `normalize` gives the form in which a normalized token is looked for.
  Status build(FunctionRef<Result<std::string>(std::string_view)> normalize);

  /// Cuts `text` at the tokens that are looked for in normalized or in raw text. `out` gets ids, or -1 with a piece of
  /// text between tokens (never empty), and stops the walk by returning false. With parse_special false special tokens
  /// are text.
  void split(std::string_view text, bool normalized, bool parse_special,
             FunctionRef<bool(TokenId, std::string_view)> out) const;

  const AddedToken* find(TokenId id) const;
  const AddedToken* find(std::string_view content) const;
  const std::vector<AddedToken>& all() const noexcept { return tokens_; }
  bool has_normalized() const noexcept { return !matcher_[1].empty(); }

 private:
  std::vector<AddedToken> tokens_;
  std::unordered_map<TokenId, std::size_t> by_id_;
  std::unordered_map<std::string, std::size_t> by_content_;
  std::size_t bytes_ = 0;
  MultiMatcher matcher_[2];              // raw, normalized
  std::vector<std::size_t> pattern_[2];  // of each pattern, the index of its token
};

}  // namespace nbl::text
