#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <cstdint>

#include "base/bounds.h"
#include "base/foreign.h"
#include "text/char_table.h"
#include "text/utf8.h"

namespace nbl::text {
namespace {

constexpr std::size_t kShown = 200;  // bytes of an expression that a message repeats

constexpr BoundOf<uint32_t> kMatchLimit{Bound::regex_steps};  // steps a match; the published patterns need a few a character
constexpr BoundOf<uint32_t> kHeapLimitKib{Bound::regex_heap_kib};
constexpr BoundOf<std::size_t> kMaxPattern{Bound::regex_bytes};

// What a thread needs to run any expression.
struct MatchScratch {
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;

  MatchScratch() {
    data = pcre2_match_data_create(1, nullptr);
    context = pcre2_match_context_create(nullptr);
  }
  ~MatchScratch() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  MatchScratch(const MatchScratch&) = delete;
  MatchScratch& operator=(const MatchScratch&) = delete;
};

// The library's Unicode data is older than the tokenizers'. Characters that it does not know are replaced, for matching
// only, by ones of the same class and length that it knows; U+180E, which only PCRE2 counts as space, likewise.
bool needs_substitution(std::string_view text) {
  const CharTable& table = CharTable::get();
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    if (static_cast<unsigned char>(*p) < 0xE0) {
      ++p;  // ASCII, two-byte characters and their second bytes: nothing new there
      continue;
    }
    const uint32_t c = next_valid_utf8(p);
    if ((table[c] & kNewer) || c == 0x180E) return true;
  }
  return false;
}

std::string substitute(std::string_view text) {
  const CharTable& table = CharTable::get();
  std::string out;
  out.reserve(text.size());
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    const char* const begin = p;
    const uint32_t c = next_valid_utf8(p);
    const uint16_t bits = table[c];
    if (c == 0x180E) {
      append_utf8(out, 0x200B);
      continue;
    }
    const bool three = p - begin == 3;
    if (!(bits & kNewer) || p - begin < 3) {
      out.append(begin, p);
    } else if (bits & kUpper) {
      append_utf8(out, three ? 0x1E00 : 0x10400);
    } else if (bits & kLower) {
      append_utf8(out, three ? 0x1E01 : 0x10428);
    } else if (bits & kLetter) {
      append_utf8(out, c >= 0x2EBF0 && c <= 0x323AF ? 0x20000 : three ? 0x1401 : 0x10450);
    } else if (bits & kDigit) {
      append_utf8(out, three ? 0x0E51 : 0x11066);
    } else if (bits & kNumber) {
      append_utf8(out, three ? 0x2460 : 0x10107);
    } else if (bits & kMark) {
      append_utf8(out, three ? 0x20D0 : 0x11001);
    } else if (bits & kPunctuation) {
      append_utf8(out, three ? 0x2016 : 0x10100);
    } else {
      append_utf8(out, three ? 0x2600 : 0x1F300);
    }
  }
  return out;
}

}  // namespace

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  ~Compiled() { pcre2_code_free(code); }
};

Regex::~Regex() = default;

Result<std::unique_ptr<Regex>> Regex::compile(std::string_view pattern, std::string_view what) {
  if (pattern.size() > kMaxPattern) {
    return Status(Code::limit, fmt::format("{}: the regular expression has {} bytes, more than the {} allowed", what,
                                           pattern.size(), kMaxPattern.get()));
  }
  auto translated = translate_pattern(pattern);
  if (!translated.ok()) return translated.status().with_context(std::string(what));
  std::unique_ptr<Regex> regex(new Regex);
  regex->pattern_ = std::string(pattern);
  regex->compiled_ = std::make_unique<Compiled>();
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  if (context == nullptr) return Status(Code::out_of_memory, "no memory for a regular expression");
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  regex->compiled_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context);
  pcre2_compile_context_free(context);
  if (regex->compiled_->code == nullptr) {
    std::array<PCRE2_UCHAR, 160> message{};
    pcre2_get_error_message(error, message.data(), message.size());
    return Status(Code::corrupt, fmt::format("{}: the regular expression \"{}\" does not compile: {} at offset {}",
                                             what, pattern.substr(0, kShown), reinterpret_cast<const char*>(message.data()), offset));
  }
  // Interpreted: PCRE2's compiler makes machine code in pages that are writable and executable at once, out of a stranger's
  // expression. The published expressions that matter have scanners of their own (scanner.h).
  return regex;
}

Status Regex::find_all(std::string_view subject, FunctionRef<bool(std::size_t, std::size_t)> on_match) const {
  thread_local MatchScratch scratch;
  if (scratch.data == nullptr || scratch.context == nullptr) {
    return Status(Code::out_of_memory, "no memory to run a regular expression");
  }
  pcre2_set_match_limit(scratch.context, kMatchLimit);
  pcre2_set_heap_limit(scratch.context, kHeapLimitKib);
  std::string replaced;
  if (needs_substitution(subject)) {
    replaced = substitute(subject);
    subject = replaced;
  }
  const auto* text = reinterpret_cast<PCRE2_SPTR>(subject.data());
  std::size_t from = 0;
  std::size_t last_end = 0;
  bool any = false;
  while (from <= subject.size()) {
    const int rc = pcre2_match(compiled_->code, text, subject.size(), from, PCRE2_NO_UTF_CHECK, scratch.data, scratch.context);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      return Status(Code::limit,
                    fmt::format("the regular expression \"{}\" gave up on a text of {} bytes (PCRE2 error {}): it "
                                "backtracks too much",
                                pattern_.substr(0, kShown), subject.size(), rc));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.data);
    filled_elsewhere(bounds, 2 * sizeof *bounds);
    const std::size_t begin = bounds[0];
    const std::size_t end = bounds[1];
    if (end < begin) {
      return Status(Code::unsupported,
                    fmt::format("the regular expression \"{}\" ends a match before it starts", pattern_));
    }
    if (begin == end) {
      // Go on behind the next character; an empty match touching the last one does not count.
      from = end < subject.size() ? end + utf8_length(subject[end]) : end + 1;
      if (any && begin == last_end) continue;
    } else {
      from = end;
    }
    any = true;
    last_end = end;
    if (!on_match(begin, end)) break;
  }
  return {};
}

}  // namespace nbl::text
