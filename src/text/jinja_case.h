// Upper and lower case as Python's str has them, from the character database.
#pragma once

#include <string>
#include <string_view>

namespace nbl::text::jinja {

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);  ///< the first character in title case, the rest lower
std::string title(std::string_view text);       ///< str.title(): every run of letters
std::string swap_case(std::string_view text);
std::string fold_case(std::string_view text);  ///< str.casefold()

// str.isX(): false for an empty text.
bool is_upper(std::string_view text);
bool is_lower(std::string_view text);
bool is_alpha(std::string_view text);
bool is_digit(std::string_view text);
bool is_decimal(std::string_view text);
bool is_numeric(std::string_view text);  ///< but for ideographs that are numbers
bool is_alnum(std::string_view text);
bool is_space(std::string_view text);
bool is_title(std::string_view text);

}  // namespace nbl::text::jinja
