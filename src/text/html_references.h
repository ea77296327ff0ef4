// HTML's character references (&amp; &#39; &eacute;), read as the standard says browsers do.
#pragma once

#include <string>
#include <string_view>

namespace nbl::text {

/// The text with every reference replaced; what is none stays. `text` must be valid UTF-8.
std::string without_html_references(std::string_view text);

}  // namespace nbl::text
