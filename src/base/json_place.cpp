// Finds the place of the first error in a text that the parser refused: the parser itself does not tell.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <system_error>
#include <vector>

#include "base/json_rep.h"

namespace nbl {
namespace {

class Walker {
 public:
  explicit Walker(std::string_view text) : text_(text) {}

  // The offset of the first character that no JSON text could have there; the text's length when it ends too early.
  std::size_t first_error() {
    std::vector<char> open;  // the brackets not yet closed
    space();
    for (bool value = true;;) {
      if (value) {
        const char c = peek();
        if (c == '{' || c == '[') {
          ++at_;
          space();
          open.push_back(c);
          if (peek() != (c == '{' ? '}' : ']')) {
            if (c == '{' && !key()) return at_;
            continue;
          }
        } else if (!scalar()) {
          return at_;
        }
      }
      space();
      if (open.empty()) return at_;
      value = peek() == ',';
      if (value) {
        ++at_;
        space();
        if (open.back() == '{' && !key()) return at_;
      } else if (peek() == (open.back() == '{' ? '}' : ']')) {
        ++at_;
        open.pop_back();
      } else {
        return at_;
      }
    }
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void space() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }

  bool key() {
    if (peek() != '"' || !string()) return false;
    space();
    if (peek() != ':') return false;
    ++at_;
    space();
    return true;
  }

  bool string() {
    for (++at_; at_ < text_.size() && text_[at_] != '"';) {
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c < 0x20 || !(c == '\\' ? escape() : character())) return false;
    }
    if (at_ == text_.size()) return false;
    ++at_;
    return true;
  }

  // -1 when no four hexadecimal digits follow \u here.
  int unit() const {
    if (text_.substr(at_, 2) != "\\u" || text_.size() - at_ < 6) return -1;
    int value = 0;
    for (const char h : text_.substr(at_ + 2, 4)) {
      const std::size_t digit = std::string_view("0123456789abcdef").find(h > '9' ? static_cast<char>(h | 0x20) : h);
      if (digit == std::string_view::npos) return -1;
      value = value * 16 + static_cast<int>(digit);
    }
    return value;
  }

  bool escape() {
    if (text_.substr(at_, 2) != "\\u") {
      if (text_.size() - at_ < 2 || std::string_view("\"\\/bfnrt").find(text_[at_ + 1]) == std::string_view::npos) {
        return false;
      }
      at_ += 2;
      return true;
    }
    const int first = unit();
    if (first < 0 || (first >= 0xdc00 && first < 0xe000)) return false;
    at_ += 6;
    if (first < 0xd800 || first >= 0xe000) return true;
    const int second = unit();
    if (second < 0xdc00 || second >= 0xe000) return false;
    at_ += 6;
    return true;
  }

  // One UTF-8 sequence: lengths by the first byte, bounds of the second against overlong forms, surrogates and >
  // U+10FFFF.
  bool character() {
    const auto byte = [this](std::size_t i) -> unsigned {
      return at_ + i < text_.size() ? static_cast<unsigned char>(text_[at_ + i]) : 0U;
    };
    const unsigned c = byte(0);
    const std::size_t length = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (length == 0) return false;
    const unsigned low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    const unsigned high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    for (std::size_t i = 1; i < length; ++i) {
      if (byte(i) < (i == 1 ? low : 0x80U) || byte(i) > (i == 1 ? high : 0xbfU)) return false;
    }
    at_ += length;
    return true;
  }

  std::size_t digits() {
    const std::size_t from = at_;
    at_ = std::min(text_.find_first_not_of("0123456789", at_), text_.size());
    return at_ - from;
  }

  bool number() {
    const std::size_t start = at_;
    if (peek() == '-') ++at_;
    const bool zero = peek() == '0';
    const std::size_t whole = digits();
    if (whole == 0) return false;
    if (zero && whole > 1) {
      at_ = start;
      return false;
    }
    if (peek() == '.') {
      ++at_;
      if (digits() == 0) return false;
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (digits() == 0) return false;
    }
    // The grammar allows any size, a double does not (but it takes what is too small as zero).
    const std::string_view literal = text_.substr(start, at_ - start);
    double ignored;
    if (std::from_chars(literal.data(), literal.data() + literal.size(), ignored).ec ==
            std::errc::result_out_of_range &&
        literal.find("e-") == std::string_view::npos && literal.find("E-") == std::string_view::npos) {
      at_ = start;
      return false;
    }
    return true;
  }

  bool scalar() {
    if (peek() == '"') return string();
    for (const std::string_view word : {"true", "false", "null"}) {
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return true;
      }
    }
    return number();
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::string json_error_place(std::string_view text) {
  const std::size_t at = Walker(text).first_error();
  const std::string_view before = text.substr(0, at);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const std::size_t start = before.rfind('\n');
  const std::size_t column = start == std::string_view::npos ? at + 1 : at - start;
  std::string place = fmt::format("line {}, column {}", line, column);
  // What other writers put out and readers of JSON do not know.
  if (text.starts_with("\xef\xbb\xbf")) return place + " (a byte order mark)";
  std::string_view rest = text.substr(at > 0 && at < text.size() && text[at] != '-' && text[at - 1] == '-' ? at - 1 : at);
  if (rest.starts_with('-')) rest.remove_prefix(1);
  for (const std::string_view name : {"NaN", "Infinity", "nan", "inf"})
    if (rest.starts_with(name)) return fmt::format("{} ({} is no JSON number)", place, name);
  return place;
}

}  // namespace nbl
