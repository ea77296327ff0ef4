#include "base/plain_text.h"

namespace nbl {
namespace {

constexpr std::size_t kEscape = 4;  // \xNN

// The bytes of the next character and whether they may be shown as they are.
struct Character {
  std::size_t length;
  bool plain;
};

Character next_character(std::string_view text) noexcept {
  const std::size_t length = utf8_sequence(text);
  if (length == 0) return {1, false};
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const bool control = (length == 1 && (at(0) < 0x20 || at(0) == 0x7f)) || (length == 2 && at(0) == 0xc2 && at(1) < 0xa0);
  return {length, !control};
}

void escape(char byte, char* out) noexcept {
  constexpr char kDigits[] = "0123456789abcdef";
  const auto value = static_cast<unsigned char>(byte);
  out[0] = '\\';
  out[1] = 'x';
  out[2] = kDigits[value >> 4];
  out[3] = kDigits[value & 15];
}

}  // namespace

std::size_t utf8_sequence(std::string_view text) noexcept {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = at(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  if ((first == 0xe0 && at(1) < 0xa0) || (first == 0xed && at(1) > 0x9f) || (first == 0xf0 && at(1) < 0x90) ||
      (first == 0xf4 && at(1) > 0x8f)) {
    return 0;
  }
  return length;
}

std::size_t write_plain_text(std::string_view text, char* out, std::size_t capacity) noexcept {
  std::size_t size = 0;
  while (!text.empty()) {
    const Character c = next_character(text);
    const std::size_t needed = c.plain ? c.length : kEscape * c.length;
    if (needed > capacity - 1 - size) break;
    for (std::size_t i = 0; i < c.length; ++i) {
      if (c.plain) {
        out[size++] = text[i];
      } else {
        escape(text[i], out + size);
        size += kEscape;
      }
    }
    text.remove_prefix(c.length);
  }
  out[size] = '\0';
  return size;
}

std::string plain_text(std::string_view text) {
  std::string out(kEscape * text.size() + 1, '\0');
  out.resize(write_plain_text(text, out.data(), out.size()));
  return out;
}

}  // namespace nbl
