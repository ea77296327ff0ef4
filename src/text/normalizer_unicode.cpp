#include "text/normalizer_unicode.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <cstdlib>
#include <optional>

#include "base/foreign.h"
#include "text/char_table.h"
#include "text/utf8.h"

namespace nbl::text {
namespace {

bool all_ascii(std::string_view text) noexcept {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

/// One of the four normalization forms. Appends the form of `text`.
Status append_form(std::string& out, std::string_view text, int options) {
  utf8proc_uint8_t* made = nullptr;
  const utf8proc_ssize_t n =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &made, static_cast<utf8proc_option_t>(options));
  if (n < 0) {
    return Status(n == UTF8PROC_ERROR_NOMEM ? Code::out_of_memory : Code::internal,
                  fmt::format("Unicode normalization failed: {}", utf8proc_errmsg(n)));
  }
  filled_elsewhere(made, static_cast<std::size_t>(n));
  out.append(reinterpret_cast<const char*>(made), static_cast<std::size_t>(n));
  std::free(made);
  return {};
}

class UnicodeForm final : public Normalizer {
 public:
  explicit UnicodeForm(int options) : options_(options) {}

  Status apply(std::string& text) const override {
    // ASCII never changes, and composes only with what follows it: runs of it are copied, but for their last character.
    if (all_ascii(text)) return {};
    std::string out;
    out.reserve(text.size());
    const std::string_view all = text;
    std::size_t at = 0;
    while (at < all.size()) {
      std::size_t plain = at;
      while (plain < all.size() && static_cast<unsigned char>(all[plain]) < 0x80) ++plain;
      if (plain == all.size()) {
        out.append(all.substr(at));
        break;
      }
      std::size_t begin = plain > at ? plain - 1 : plain;
      out.append(all.substr(at, begin - at));
      std::size_t end = plain;
      while (end < all.size() && static_cast<unsigned char>(all[end]) >= 0x80) {
        const char* p = all.data() + end;
        const uint32_t c = next_valid_utf8(p);
        const auto next = static_cast<std::size_t>(p - all.data());
        // The Hangul trailing base composes with nothing, whatever utf8proc 2.8 thinks.
        if (is_undecomposed(c) || c == 0x11A7) {
          NBL_TRY(append_form(out, all.substr(begin, end - begin), options_));
          out.append(all.substr(end, next - end));
          begin = next;
        }
        end = next;
      }
      NBL_TRY(append_form(out, all.substr(begin, end - begin), options_));
      at = end;
    }
    text = std::move(out);
    return {};
  }

 private:
  int options_;
};

void append_lower_case(std::string& out, uint32_t c) {
  if (c < 128) {
    out.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
  } else if (c == 0x130) {
    out += "i\xCC\x87";  // the one character whose lower case is two
  } else {
    append_utf8(out, lower_case(c));
  }
}

/// Rewrites the text character by character.
template <class Fn>
void rewrite(std::string& text, Fn&& fn) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) fn(out, next_valid_utf8(p));
  text = std::move(out);
}

class Lowercase final : public Normalizer {
 public:
  Status apply(std::string& text) const override {
    rewrite(text, append_lower_case);
    return {};
  }
};

uint32_t first_char(std::string_view text) noexcept {
  const char* p = text.data();
  return next_valid_utf8(p);
}

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  Status apply(std::string& text) const override {
    const CharTable& table = CharTable::get();
    std::size_t begin = 0;
    std::size_t end = text.size();
    while (left_ && begin < end) {
      const char* p = text.data() + begin;
      if (!(table[next_valid_utf8(p)] & kSpace)) break;
      begin = static_cast<std::size_t>(p - text.data());
    }
    while (right_ && end > begin) {
      std::size_t at = end - 1;
      while (at > begin && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
      const char* p = text.data() + at;
      if (!(table[next_valid_utf8(p)] & kSpace)) break;
      end = at;
    }
    text = text.substr(begin, end - begin);
    return {};
  }
  bool drops_first(std::string_view text) const override {
    return left_ && !text.empty() && (CharTable::get()[first_char(text)] & kSpace) != 0;
  }

 private:
  bool left_;
  bool right_;
};

class StripAccents final : public Normalizer {
 public:
  Status apply(std::string& text) const override {
    rewrite(text, [](std::string& out, uint32_t c) {
      if (!is_stripped_mark(c)) append_utf8(out, c);
    });
    return {};
  }
  bool drops_first(std::string_view text) const override { return !text.empty() && is_stripped_mark(first_char(text)); }
};

bool is_cjk(uint32_t c) noexcept {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
         (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x2F800 && c <= 0x2FA1F);
}

// Control and format characters, and private use, as Unicode 8 had them.
bool is_bert_control(uint32_t c) noexcept {
  return c < 0x20 || (c >= 0x7F && c <= 0x9F) || c == 0xAD || (c >= 0x600 && c <= 0x605) || c == 0x61C || c == 0x6DD ||
         c == 0x70F || c == 0x180E || (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
         (c >= 0x2060 && c <= 0x2064) || (c >= 0x2066 && c <= 0x206F) || (c >= 0xE000 && c <= 0xF8FF) || c == 0xFEFF ||
         (c >= 0xFFF9 && c <= 0xFFFB) || c == 0x110BD || (c >= 0x1BCA0 && c <= 0x1BCA3) ||
         (c >= 0x1D173 && c <= 0x1D17A) || c == 0xE0001 || (c >= 0xE0020 && c <= 0xE007F) ||
         (c >= 0xF0000 && c <= 0xFFFFD) || (c >= 0x100000 && c <= 0x10FFFD);
}

class BertNormalizer final : public Normalizer {
 public:
  BertNormalizer(bool clean, bool chinese, bool accents, bool lower)
      : clean_(clean),
        chinese_(chinese),
        accents_(accents),
        lower_(lower),
        decompose_(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE) {}

  Status apply(std::string& text) const override {
    if (clean_) {
      rewrite(text, [](std::string& out, uint32_t c) {
        const bool blank = c == '\t' || c == '\n' || c == '\r';  // controls too, and kept
        if (!blank && (c == kReplacementCharacter || is_bert_control(c))) return;
        if (blank || CharTable::get()[c] & kSpace) {
          out += ' ';
        } else {
          append_utf8(out, c);
        }
      });
    }
    if (chinese_) {
      rewrite(text, [](std::string& out, uint32_t c) {
        const bool spaced = is_cjk(c);
        if (spaced) out += ' ';
        append_utf8(out, c);
        if (spaced) out += ' ';
      });
    }
    if (accents_) {
      NBL_TRY(decompose_.apply(text));
      rewrite(text, [](std::string& out, uint32_t c) {
        if (!is_bert_mark(c)) append_utf8(out, c);
      });
    }
    if (lower_) rewrite(text, append_lower_case);
    return {};
  }

 private:
  bool clean_;
  bool chinese_;
  bool accents_;
  bool lower_;
  UnicodeForm decompose_;
};

bool is_nmt_control(uint32_t c) noexcept {
  return (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
}

/// Takes away control characters and turns unusual spaces into plain ones.
class Nmt final : public Normalizer {
 public:
  Status apply(std::string& text) const override {
    rewrite(text, [](std::string& out, uint32_t c) {
      if (is_nmt_control(c)) return;
      const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                         (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF ||
                         c == 0xFFFD;
      append_utf8(out, space ? 0x20 : c);
    });
    return {};
  }
  bool drops_first(std::string_view text) const override { return !text.empty() && is_nmt_control(first_char(text)); }
};

}  // namespace

Result<std::unique_ptr<Normalizer>> parse_unicode_normalizer(std::string_view type, const Json& json) {
  std::unique_ptr<Normalizer> made;
  if (type == "NFC") {
    made = std::make_unique<UnicodeForm>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  } else if (type == "NFD") {
    made = std::make_unique<UnicodeForm>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
  } else if (type == "NFKC") {
    made = std::make_unique<UnicodeForm>(UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
  } else if (type == "NFKD") {
    made = std::make_unique<UnicodeForm>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT);
  } else if (type == "Lowercase") {
    made = std::make_unique<Lowercase>();
  } else if (type == "Strip") {
    NBL_ASSIGN(const bool left, json.bool_or("strip_left", true));
    NBL_ASSIGN(const bool right, json.bool_or("strip_right", true));
    made = std::make_unique<Strip>(left, right);
  } else if (type == "StripAccents") {
    made = std::make_unique<StripAccents>();
  } else if (type == "BertNormalizer") {
    NBL_ASSIGN(const bool clean, json.bool_or("clean_text", true));
    NBL_ASSIGN(const bool chinese, json.bool_or("handle_chinese_chars", true));
    NBL_ASSIGN(const bool lower, json.bool_or("lowercase", true));
    NBL_ASSIGN(const bool accents, json.bool_or("strip_accents", lower));
    made = std::make_unique<BertNormalizer>(clean, chinese, accents, lower);
  } else if (type == "Nmt") {
    made = std::make_unique<Nmt>();
  }
  return made;
}

}  // namespace nbl::text
