// Cases and kinds of letters, from utf8proc's tables.
#include <fmt/format.h>
#include <utf8proc.h>

#include "eval/characters.h"

namespace nbl::eval {
namespace {

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

}  // namespace

bool is_upper(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LT;
}

bool is_lower(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LL; }

bool is_word_char(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return c == U'_' || (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO) || kind == UTF8PROC_CATEGORY_ND ||
         kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

Status check_utf8(std::string_view text, std::string_view origin, std::size_t line) {
  std::size_t bytes = 1;
  for (std::size_t at = 0; at < text.size(); at += bytes) {
    if (code_point(text, at, &bytes) == 0xfffd && text.substr(at, 3) != "\xef\xbf\xbd")
      return {Code::corrupt, fmt::format("{}, line {}: byte {} is not UTF-8", origin, line, at + 1)};
  }
  return {};
}

}  // namespace nbl::eval
