// The "pattern" of splits and replacements: a literal string or a regular expression.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/parallel.h"
#include "base/status.h"
#include "text/regex.h"

namespace nbl::text {

class Pattern {
 public:
  /// {"String": "..."} or {"Regex": "..."}.
  static Result<Pattern> parse(const Json& json);
  static Pattern literal(std::string_view text);
  static Result<Pattern> regex(std::string_view text);

  bool is_regex() const noexcept { return regex_ != nullptr; }
  const std::string& text() const noexcept { return text_; }
  /// Every match from left to right; an empty literal matches nothing.
  Status find_all(std::string_view subject, FunctionRef<bool(std::size_t, std::size_t)> on_match) const;

 private:
  std::string text_;
  std::unique_ptr<Regex> regex_;
};

}  // namespace nbl::text
