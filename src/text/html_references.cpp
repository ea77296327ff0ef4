#include "text/html_references.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>

#include "text/utf8.h"

namespace nbl::text {
namespace {

struct Reference {
  std::string_view name, text;
  int bare;  ///< known without the semicolon, too
};

constexpr Reference kReferences[] = {
#define NBL_REF(name, text, bare) {name, text, bare},
#include "text/html_references.inc"
#undef NBL_REF
};

const Reference* find(std::string_view name) noexcept {
  const auto at = std::lower_bound(std::begin(kReferences), std::end(kReferences), name,
                                   [](const Reference& r, std::string_view wanted) { return r.name < wanted; });
  return at != std::end(kReferences) && at->name == name ? at : nullptr;
}

/// Windows' characters, which old pages name by their bytes.
constexpr std::array<uint16_t, 32> kWindows = {
    0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021, 0x2C6, 0x2030, 0x160, 0x2039, 0x152, 0x8D, 0x17D, 0x8F,
    0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x2DC, 0x2122, 0x161, 0x203A, 0x153, 0x9D, 0x17E, 0x178};

void append_number(std::string& out, uint64_t c) {
  if (c >= 0x80 && c < 0xA0) return append_utf8(out, kWindows[c - 0x80]);
  if (c == 0 || (c >= 0xD800 && c < 0xE000) || c > 0x10FFFF) return append_utf8(out, 0xFFFD);
  const bool control = (c < 0x20 && c != '\t' && c != '\n' && c != '\f' && c != '\r') || c == 0x7F;
  if (control || (c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE) return;
  append_utf8(out, static_cast<uint32_t>(c));
}

/// Bytes of a reference by number at `text` (behind "&#"); 0 when there is none.
std::size_t number_at(std::string_view text, std::string& out) {
  const bool hex = !text.empty() && (text[0] == 'x' || text[0] == 'X');
  std::size_t at = hex ? 1 : 0;
  const std::size_t first = at;
  uint64_t value = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    const char low = static_cast<char>(c | 32);
    const int digit = c >= '0' && c <= '9' ? c - '0' : hex && low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
    if (digit < 0) break;
    value = std::min<uint64_t>(value * (hex ? 16 : 10) + static_cast<uint64_t>(digit), 0x110000);
  }
  if (at == first) return 0;
  append_number(out, value);
  return at + (at < text.size() && text[at] == ';' ? 1 : 0);
}

/// Bytes of a reference by name at `text` (behind "&"); 0 when there is none.
std::size_t name_at(std::string_view text, std::string& out) {
  constexpr std::size_t kLongest = 32;
  std::size_t size = 0;
  for (std::size_t chars = 0; chars < kLongest && size < text.size(); ++chars) {
    if (std::string_view("\t\n\f <&#;").find(text[size]) != std::string_view::npos) break;
    size += utf8_length(text[size]);
  }
  const std::string_view name = text.substr(0, size);
  const bool closed = size < text.size() && text[size] == ';';
  if (const Reference* whole = find(name); whole != nullptr && (closed || whole->bare != 0)) {
    out += whole->text;
    return size + (closed ? 1 : 0);
  }
  for (std::size_t length = size; length > 1; --length) {
    const Reference* part = find(name.substr(0, length));
    if (part == nullptr || part->bare == 0) continue;
    out += part->text;
    return length;
  }
  return 0;
}

}  // namespace

std::string without_html_references(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t next = std::min(text.find('&', at), text.size());
    out += text.substr(at, next - at);
    at = next;
    if (at == text.size()) break;
    const std::string_view rest = text.substr(at + 1);
    const bool number = rest.starts_with('#');
    const std::size_t used = number ? number_at(rest.substr(1), out) : name_at(rest, out);
    if (used == 0) out += '&';
    at += used == 0 ? 1 : 1 + used + (number ? 1 : 0);
  }
  return out;
}

}  // namespace nbl::text
