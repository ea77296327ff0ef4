// A template's source as tokens: the text between tags, and what stands in them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace nbl::text {
struct TemplateOptions;
}

namespace nbl::text::jinja {

enum class TokenKind : uint8_t {
  data,
  block_begin,
  block_end,
  variable_begin,
  variable_end,
  name,
  string,
  integer,
  real,
  symbol,  // an operator or a bracket
  end,
};

struct Token {
  TokenKind kind = TokenKind::end;
  int line = 0;
  std::string text;  // decoded, for strings; digits alone, for numbers
};

/// The last token is of kind `end`. Whitespace control has been applied.
Result<std::vector<Token>> tokenize(std::string_view source, const TemplateOptions& options);

/// "line N: what", as every message of a template begins.
Status template_error(Code code, int line, std::string_view what);

}  // namespace nbl::text::jinja
