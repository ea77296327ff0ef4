// The printable characters that byte-level vocabularies write for the 256 bytes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nbl::text {

/// The character of a byte: itself when it is printable Latin-1, else one from U+0100 on.
uint32_t byte_level_char(unsigned char byte) noexcept;
/// Each byte's character, appended.
void append_byte_level(std::string& out, std::string_view bytes);
/// The bytes that a piece of such a vocabulary stands for; nothing when some character of it stands for none.
std::optional<std::string> from_byte_level(std::string_view piece);

}  // namespace nbl::text
