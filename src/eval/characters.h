// The little that measurements need to know about characters, as Python's str sees them.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace nbl::eval {

/// str.isspace() of one code point.
bool is_space(char32_t c);
/// The code point that begins at text[at] (U+FFFD for a broken one) and the number of its bytes, at least 1.
char32_t code_point(std::string_view text, std::size_t at, std::size_t* bytes);
/// len(text).
int64_t length_in_code_points(std::string_view text);
/// Bytes left after text.rstrip().
std::size_t rstripped(std::string_view text);
/// len(text.split()).
int64_t count_words(std::string_view text);
/// len(re.split(r"\s+", text)): lm-evaluation-harness's word count, which has an empty piece at a blank end.
int64_t count_pieces(std::string_view text);

/// Code::corrupt, naming the line, when the text is not UTF-8.
Status check_utf8(std::string_view text, std::string_view origin, std::size_t line);
/// Code points as Python sees them.
bool is_upper(char32_t c);   ///< a capital or title letter
bool is_lower(char32_t c);
bool is_word_char(char32_t c);  ///< what \w matches in Python: letters, digits, underscore

}  // namespace nbl::eval
