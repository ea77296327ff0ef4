#include "text/jinja_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/char_table.h"
#include "text/jinja.h"
#include "text/jinja_value.h"
#include "text/utf8.h"

namespace nbl::text::jinja {
namespace {

constexpr std::array<std::string_view, 6> kDoubleSymbols = {"//", "**", "==", "!=", ">=", "<="};
constexpr std::string_view kSingleSymbols = "+-/*%~[](){}<>=.:|,;";

/// Line breaks of any kind as "\n"; the last one removed unless it is to stay.
std::string normalized(std::string_view source, bool keep_trailing_newline) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!keep_trailing_newline && out.ends_with('\n')) out.pop_back();
  return out;
}

bool is_name_begin(uint32_t c) {
  return c == '_' || (c < 0x80 ? (c | 32) >= 'a' && (c | 32) <= 'z' : (CharTable::get()[c] & kLetter) != 0);
}

class Lexer {
 public:
  Lexer(std::string_view source, const TemplateOptions& options)
      : text_(normalized(source, options.keep_trailing_newline)), options_(options) {}

  Result<std::vector<Token>> run() {
    while (at_ < text_.size()) NBL_TRY(outside());
    push(TokenKind::end, {});
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(text_).substr(at_); }
  void advance(std::size_t bytes) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(at_ + bytes), '\n'));
    at_ += bytes;
  }
  void push(TokenKind kind, std::string text) { tokens_.push_back({kind, line_, std::move(text)}); }
  Status error(std::string_view what) const { return template_error(Code::corrupt, line_, what); }
  void skip_spaces() { advance(rest().size() - strip_left(rest()).size()); }

  /// Text up to the next tag, and the tag's beginning.
  Status outside() {
    std::size_t tag = at_;
    for (;;) {
      tag = text_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= text_.size()) {
        tag = text_.size();
        break;
      }
      const char next = text_[tag + 1];
      if (next == '%' || next == '{' || next == '#') break;
      ++tag;
    }
    std::string_view data = std::string_view(text_).substr(at_, tag - at_);
    if (tag == text_.size()) {
      if (!data.empty()) push(TokenKind::data, std::string(data));
      advance(data.size());
      return {};
    }
    const char type = text_[tag + 1];
    const char sign = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
    const std::size_t whole = data.size();
    data = trimmed_before_tag(data, type, sign);
    if (!data.empty()) push(TokenKind::data, std::string(data));
    advance(whole);
    advance(2);
    if (sign == '-' || sign == '+') advance(1);
    line_start_ = false;
    if (type == '#') return comment();
    if (type == '{') return inside(TokenKind::variable_begin, TokenKind::variable_end, "}}");
    const std::string_view after = strip_left(rest());
    if (after.starts_with("raw")) {
      std::string_view tail = strip_left(after.substr(3));
      const bool strip = tail.starts_with("-%}");
      if (strip || tail.starts_with("%}")) {
        advance(rest().size() - tail.size() + (strip ? 3 : 2));
        if (strip) skip_spaces();
        line_start_ = text_[at_ - 1] == '\n';
        return raw();
      }
    }
    return inside(TokenKind::block_begin, TokenKind::block_end, "%}");
  }

  std::string_view trimmed_before_tag(std::string_view data, char type, char sign) const {
    if (sign == '-') return strip_right(data);
    if (sign == '+' || type == '{' || !options_.lstrip_blocks) return data;
    const std::size_t line = data.rfind('\n');
    const std::size_t begin = line == std::string_view::npos ? 0 : line + 1;
    if (begin == 0 && !line_start_) return data;
    return strip_left(data.substr(begin)).empty() ? data.substr(0, begin) : data;
  }

  /// What goes with a block's or comment's end: nothing after a plus, all blanks after a minus, else the line break
  /// where the options say so.
  void after_tag(char sign) {
    const std::size_t before = at_;
    if (sign == '-') {
      skip_spaces();
    } else if (sign != '+' && options_.trim_blocks && rest().starts_with('\n')) {
      advance(1);
    }
    line_start_ = at_ > before && text_[at_ - 1] == '\n';
  }

  Status comment() {
    const std::size_t end = text_.find("#}", at_);
    if (end == std::string::npos) return error("a comment is not closed by #}");
    const char sign = end > at_ ? text_[end - 1] : '\0';
    advance(end + 2 - at_);
    after_tag(sign);
    return {};
  }

  Status raw() {
    const std::size_t begin = at_;
    for (std::size_t tag = text_.find("{%", at_); tag != std::string::npos; tag = text_.find("{%", tag + 1)) {
      std::string_view tail = std::string_view(text_).substr(tag + 2);
      const char sign = tail.empty() ? '\0' : tail[0];
      if (sign == '-' || sign == '+') tail.remove_prefix(1);
      tail = strip_left(tail);
      if (!tail.starts_with("endraw")) continue;
      tail = strip_left(tail.substr(6));
      const char closing = tail.starts_with("-%}") ? '-' : tail.starts_with("+%}") ? '+' : '\0';
      if (closing == '\0' && !tail.starts_with("%}")) continue;
      std::string_view data = std::string_view(text_).substr(begin, tag - begin);
      data = trimmed_before_tag(data, '%', sign);
      if (!data.empty()) push(TokenKind::data, std::string(data));
      advance(text_.size() - tail.size() + (closing == '\0' ? 2 : 3) - at_);
      after_tag(closing);
      return {};
    }
    return error("a raw block is not closed by {% endraw %}");
  }

  Status inside(TokenKind begin, TokenKind end, std::string_view closing) {
    push(begin, {});
    std::string open;  // brackets that wait for their partner
    for (;;) {
      skip_spaces();
      if (at_ >= text_.size()) return error(fmt::format("a tag is not closed by {}", closing));
      const char c = text_[at_];
      if (open.empty()) {
        const bool signed_end =
            (c == '-' || (c == '+' && end == TokenKind::block_end)) && rest().substr(1).starts_with(closing);
        if (signed_end || rest().starts_with(closing)) {
          push(end, {});
          advance(signed_end ? 3 : 2);
          if (end == TokenKind::block_end) {
            after_tag(signed_end ? c : '\0');
          } else if (signed_end) {
            skip_spaces();
            line_start_ = text_[at_ - 1] == '\n';
          }
          return {};
        }
      }
      NBL_TRY(token(open));
    }
  }

  Status token(std::string& open) {
    const char c = text_[at_];
    if (c == '"' || c == '\'') return string(c);
    if (c >= '0' && c <= '9') return number();
    const char* p = text_.data() + at_;
    if (is_name_begin(next_valid_utf8(p))) {
      while (p < text_.data() + text_.size()) {
        const char* q = p;
        const uint32_t next = next_valid_utf8(q);
        if (!is_name_begin(next) &&
            !(next < 0x80 ? next >= '0' && next <= '9' : is_word_char(next, CharTable::get()[next]))) {
          break;
        }
        p = q;
      }
      const auto size = static_cast<std::size_t>(p - text_.data()) - at_;
      push(TokenKind::name, std::string(rest().substr(0, size)));
      advance(size);
      return {};
    }
    for (const std::string_view symbol : kDoubleSymbols) {
      if (!rest().starts_with(symbol)) continue;
      push(TokenKind::symbol, std::string(symbol));
      advance(2);
      return {};
    }
    if (kSingleSymbols.find(c) == std::string_view::npos) {
      return error(fmt::format("unexpected character {} in a tag", repr_string(rest().substr(0, utf8_length(c)))));
    }
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) return error(fmt::format("unexpected '{}'", c));
      if (open.back() != c) return error(fmt::format("unexpected '{}', expected '{}'", c, open.back()));
      open.pop_back();
    }
    push(TokenKind::symbol, std::string(1, c));
    advance(1);
    return {};
  }

  Status number() {
    std::size_t size = 0;
    const auto at = [&](std::size_t i) { return at_ + i < text_.size() ? text_[at_ + i] : '\0'; };
    const auto digit = [&](std::size_t i) { return at(i) >= '0' && at(i) <= '9'; };
    const auto digits = [&] {
      while (digit(size) || (at(size) == '_' && digit(size + 1))) ++size;
    };
    const char base = static_cast<char>(at(1) | 32);
    if (at(0) == '0' && (base == 'x' || base == 'o' || base == 'b')) {
      size = 2;
      while (at(size) == '_' ||
             (static_cast<unsigned char>(at(size)) < 0x80 && std::isalnum(static_cast<unsigned char>(at(size))) != 0))
        ++size;
      std::string text = plain(size);
      const int radix = base == 'x' ? 16 : base == 'o' ? 8 : 2;
      std::size_t used = 0;
      int64_t value = 0;
      for (std::size_t i = 2; i < text.size(); ++i, ++used) {
        const char d = text[i];
        const int v = d >= '0' && d <= '9' ? d - '0' : (d | 32) >= 'a' && (d | 32) <= 'f' ? (d | 32) - 'a' + 10 : 99;
        if (v >= radix || used > 15) return error(fmt::format("\"{}\" is no number", text));
        value = value * radix + v;
      }
      if (used == 0) return error(fmt::format("\"{}\" is no number", text));
      push(TokenKind::integer, fmt::format("{}", value));
      advance(size);
      return {};
    }
    digits();
    bool real = false;
    if (at(size) == '.' && digit(size + 1)) {
      ++size;
      digits();
      real = true;
    }
    if ((at(size) | 32) == 'e') {
      const std::size_t sign = at(size + 1) == '+' || at(size + 1) == '-' ? 1 : 0;
      if (digit(size + 1 + sign)) {
        size += 1 + sign;
        digits();
        real = true;
      }
    }
    push(real ? TokenKind::real : TokenKind::integer, plain(size));
    advance(size);
    return {};
  }

  std::string plain(std::size_t size) const {
    std::string out(rest().substr(0, size));
    std::erase(out, '_');
    return out;
  }

  Status string(char quote) {
    std::string out;
    std::size_t i = at_ + 1;
    for (;; ++i) {
      if (i >= text_.size()) return error("a string is not closed");
      const char c = text_[i];
      if (c == quote) break;
      if (c != '\\') {
        out += c;
        continue;
      }
      if (++i >= text_.size()) return error("a string is not closed");
      NBL_TRY(escape(out, i));
    }
    push(TokenKind::string, std::move(out));
    advance(i + 1 - at_);
    return {};
  }

  /// One escape, `i` at the character after the backslash; left at its last.
  Status escape(std::string& out, std::size_t& i) const {
    constexpr std::string_view kFrom = "nrtabfv\\'\"", kTo = "\n\r\t\a\b\f\v\\'\"";
    const char c = text_[i];
    if (const std::size_t known = kFrom.find(c); known != std::string_view::npos) {
      out += kTo[known];
    } else if (c == '\n') {
      // The line goes on.
    } else if (c >= '0' && c <= '7') {
      uint32_t value = 0;
      std::size_t n = 0;
      while (n < 3 && i + n < text_.size() && text_[i + n] >= '0' && text_[i + n] <= '7') {
        value = value * 8 + static_cast<uint32_t>(text_[i + n++] - '0');
      }
      append_utf8(out, value);
      i += n - 1;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      uint32_t value = 0;
      for (std::size_t n = 1; n <= count; ++n) {
        const char d = i + n < text_.size() ? text_[i + n] : '\0';
        if (std::isxdigit(static_cast<unsigned char>(d)) == 0) return error("a string has a truncated escape");
        value = value * 16 + static_cast<uint32_t>(d <= '9' ? d - '0' : (d | 32) - 'a' + 10);
      }
      if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return error("a string escapes no character");
      append_utf8(out, value);
      i += count;
    } else if (c == 'N') {
      return template_error(Code::unsupported, line_, "\\N{...} in a string is not supported");
    } else {
      out += '\\';
      out += c;
    }
    return {};
  }

  std::string text_;
  const TemplateOptions& options_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_start_ = true;  // what precedes the text ahead is a line break that a tag took, or nothing
};

}  // namespace

Status template_error(Code code, int line, std::string_view what) {
  return Status(code, fmt::format("line {}: {}", line, what));
}

Result<std::vector<Token>> tokenize(std::string_view source, const TemplateOptions& options) {
  return Lexer(source, options).run();
}

}  // namespace nbl::text::jinja
