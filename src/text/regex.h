// Regular expressions of tokenizer files: Oniguruma's syntax (what the Hugging Face library uses), run by PCRE2.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/parallel.h"
#include "base/status.h"

namespace nbl::text {

/// Rewrites an Oniguruma (Ruby syntax) pattern for PCRE2: nested character classes are flattened, \h, \w and the like
/// spelled out. Code::unsupported for what has no counterpart (class intersections, absent operators).
Result<std::string> translate_pattern(std::string_view pattern);

class Regex {
 public:
  /// `what` names the pattern's place in messages.
  static Result<std::unique_ptr<Regex>> compile(std::string_view pattern, std::string_view what);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  /// Calls on_match(begin, end) for each match from left to right until it returns false. An empty match right after
  /// the last one is skipped. The subject must be valid UTF-8. Code::limit when the expression backtracks too much.
  Status find_all(std::string_view subject, FunctionRef<bool(std::size_t, std::size_t)> on_match) const;

 private:
  Regex() = default;
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
  std::string pattern_;
};

}  // namespace nbl::text
