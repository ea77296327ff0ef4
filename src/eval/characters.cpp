#include "eval/characters.h"

namespace nbl::eval {

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

char32_t code_point(std::string_view text, std::size_t at, std::size_t* bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  *bytes = 1;
  if (first < 0x80) return first;
  const std::size_t need = first >= 0xf0 && first < 0xf8 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
  if (need == 0 || first >= 0xf8 || at + need > text.size()) return 0xfffd;
  char32_t c = first & (0xffu >> (need + 1));
  for (std::size_t i = 1; i < need; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0xfffd;
    c = (c << 6) | (byte(at + i) & 0x3f);
  }
  *bytes = need;
  return c;
}

int64_t length_in_code_points(std::string_view text) {
  int64_t count = 0;
  std::size_t bytes = 1;
  for (std::size_t at = 0; at < text.size(); at += bytes, ++count) code_point(text, at, &bytes);
  return count;
}

std::size_t rstripped(std::string_view text) {
  std::size_t end = 0, bytes = 1;
  for (std::size_t at = 0; at < text.size(); at += bytes) {
    if (!is_space(code_point(text, at, &bytes))) end = at + bytes;
  }
  return end;
}

int64_t count_words(std::string_view text) {
  int64_t words = 0;
  bool inside = false;
  std::size_t bytes = 1;
  for (std::size_t at = 0; at < text.size(); at += bytes) {
    const bool space = is_space(code_point(text, at, &bytes));
    if (!space && !inside) ++words;
    inside = !space;
  }
  return words;
}

int64_t count_pieces(std::string_view text) {
  int64_t pieces = 1;
  bool in_space = false;
  std::size_t bytes = 1;
  for (std::size_t at = 0; at < text.size(); at += bytes) {
    const bool space = is_space(code_point(text, at, &bytes));
    if (space && !in_space) ++pieces;
    in_space = space;
  }
  return pieces;
}

}  // namespace nbl::eval
