#include "text/scanner.h"

#include "text/char_table.h"
#include "text/utf8.h"

namespace nbl::text {
namespace {

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr uint16_t kWordish = kLetter | kNumber | kSpace;

class Cursor {
 public:
  explicit Cursor(std::string_view text)
      : table_(CharTable::get()), ascii_(table_.ascii()), end_(text.data() + text.size()) {}

  const char* end() const { return end_; }

  // Class of the character at p (p < end); *next is behind it.
  uint16_t peek(const char* p, const char** next) const {
    const auto b = static_cast<unsigned char>(*p);
    if (b < 0x80) {
      *next = p + 1;
      return ascii_[b];
    }
    const uint32_t c = next_valid_utf8(p);
    *next = p;
    return table_[c];
  }

  // Behind the run of characters of which (class & mask) is not zero.
  const char* run(const char* p, uint16_t mask) const {
    while (p < end_) {
      const char* next;
      if (!(peek(p, &next) & mask)) break;
      p = next;
    }
    return p;
  }
  // Behind the run of characters that are neither letter, number nor space.
  const char* run_other(const char* p) const {
    while (p < end_) {
      const char* next;
      if (peek(p, &next) & kWordish) break;
      p = next;
    }
    return p;
  }

  // A run of white space at p, of which the last character belongs to what follows, if anything does: \s+(?!\S)|\s+
  const char* spaces(const char* p) const {
    const char* last = p;
    const char* q = p;
    while (q < end_) {
      const char* next;
      if (!(peek(q, &next) & kSpace)) break;
      last = q;
      q = next;
    }
    return q == end_ || last == p ? q : last;
  }

 private:
  const CharTable& table_;
  const uint16_t* ascii_;
  const char* end_;
};

// Behind a contraction at p (an apostrophe), or p. With fold, upper case counts too, and so does the long s, which
// folds to s.
const char* contraction(const char* p, const char* end, bool fold) {
  const auto at = [&](std::ptrdiff_t i) -> char {
    if (p + i >= end) return 0;
    const char c = p[i];
    return fold && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  switch (at(1)) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return p + 2;
    case 'r':
    case 'v':
      return at(2) == 'e' ? p + 3 : p;
    case 'l':
      return at(2) == 'l' ? p + 3 : p;
    case '\xC5':
      return fold && at(2) == '\xBF' ? p + 3 : p;
    default:
      return p;
  }
}

bool scan_gpt2(std::string_view text, FunctionRef<bool(std::string_view)> out) {
  const Cursor cursor(text);
  const char* p = text.data();
  const char* const end = cursor.end();
  while (p < end) {
    const char* q = p;
    if (*p == '\'') q = contraction(p, end, false);
    if (q == p) {
      const char* start = *p == ' ' && p + 1 < end ? p + 1 : p;
      const char* next;
      uint16_t bits = cursor.peek(start, &next);
      if (bits & kSpace) {
        q = cursor.spaces(p);
      } else if (bits & kLetter) {
        q = cursor.run(next, kLetter);
      } else if (bits & kNumber) {
        q = cursor.run(next, kNumber);
      } else {
        q = cursor.run_other(next);
      }
    }
    if (!out({p, static_cast<std::size_t>(q - p)})) return false;
    p = q;
  }
  return true;
}

bool scan_llama3(std::string_view text, int max_digits, FunctionRef<bool(std::string_view)> out) {
  const Cursor cursor(text);
  const char* p = text.data();
  const char* const end = cursor.end();
  const auto newline = [](char c) { return c == '\r' || c == '\n'; };
  while (p < end) {
    const char* q = p;
    if (*p == '\'') q = contraction(p, end, true);
    if (q == p) {
      const char* next;
      const uint16_t bits = cursor.peek(p, &next);
      if (bits & kLetter) {
        q = cursor.run(next, kLetter);
      } else if (bits & kNumber) {
        q = next;
        for (int i = 1; i < max_digits && q < end; ++i) {
          if (!(cursor.peek(q, &next) & kNumber)) break;
          q = next;
        }
      } else {
        const char* after = next;
        const uint16_t following = next < end ? cursor.peek(next, &after) : uint16_t{0};
        if (!newline(*p) && (following & kLetter)) {
          q = cursor.run(after, kLetter);
        } else if (!(bits & kSpace) || (*p == ' ' && next < end && !(following & kWordish))) {
          q = cursor.run_other(next);
          while (q < end && newline(*q)) ++q;
        } else {
          // White space: up to its last line break, or all but the last character.
          const char* stop = cursor.run(p, kSpace);
          const char* line = stop;
          while (line > p && !newline(line[-1])) --line;
          q = line > p ? line : cursor.spaces(p);
        }
      }
    }
    if (!out({p, static_cast<std::size_t>(q - p)})) return false;
    p = q;
  }
  return true;
}

}  // namespace

std::optional<ScannerKind> scanner_for_pattern(std::string_view pattern) {
  if (pattern == kGpt2Pattern) return ScannerKind::gpt2;
  if (pattern == kLlama3Pattern) return ScannerKind::llama3;
  if (pattern == kQwen2Pattern) return ScannerKind::qwen2;
  return std::nullopt;
}

bool scan(ScannerKind kind, std::string_view text, FunctionRef<bool(std::string_view)> out) {
  switch (kind) {
    case ScannerKind::gpt2:
      return scan_gpt2(text, out);
    case ScannerKind::llama3:
      return scan_llama3(text, 3, out);
    case ScannerKind::qwen2:
      return scan_llama3(text, 1, out);
  }
  return false;
}

}  // namespace nbl::text
