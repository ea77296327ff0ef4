// UTF-8: decoding that trusts nothing, and the fast forms for text already checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nbl::text {

inline constexpr uint32_t kReplacementCharacter = 0xFFFD;

struct DecodedChar {
  uint32_t value = 0;  ///< kReplacementCharacter when not valid
  uint32_t length =
      0;  ///< bytes consumed: the character's, or those of the longest invalid beginning of one (at least 1)
  bool valid = false;
};

/// The character at the beginning of a non-empty text.
DecodedChar decode_utf8(std::string_view text) noexcept;

bool is_valid_utf8(std::string_view text) noexcept;

/// The text with every maximal invalid beginning of a character replaced by one U+FFFD.
std::string replace_invalid_utf8(std::string_view text);

void append_utf8(std::string& out, uint32_t code_point);

/// Reads one character of text known to be valid and moves `p` past it.
inline uint32_t next_valid_utf8(const char*& p) noexcept {
  const auto byte = [](const char* q) { return static_cast<uint32_t>(static_cast<unsigned char>(*q)); };
  const uint32_t b = byte(p);
  if (b < 0x80) {
    ++p;
    return b;
  }
  if (b < 0xE0) {
    const uint32_t c = ((b & 0x1F) << 6) | (byte(p + 1) & 0x3F);
    p += 2;
    return c;
  }
  if (b < 0xF0) {
    const uint32_t c = ((b & 0x0F) << 12) | ((byte(p + 1) & 0x3F) << 6) | (byte(p + 2) & 0x3F);
    p += 3;
    return c;
  }
  const uint32_t c =
      ((b & 0x07) << 18) | ((byte(p + 1) & 0x3F) << 12) | ((byte(p + 2) & 0x3F) << 6) | (byte(p + 3) & 0x3F);
  p += 4;
  return c;
}

/// Bytes of the valid character that starts with this byte.
inline std::size_t utf8_length(char first) noexcept {
  const auto b = static_cast<unsigned char>(first);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

}  // namespace nbl::text
