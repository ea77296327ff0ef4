#include <utf8proc.h>

#include "base/foreign.h"
#include "eval/characters.h"
#include "eval/text_metrics.h"

namespace nbl::eval {
namespace {

bool is_cased(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

void append(std::string& out, char32_t c) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t count = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  filled_elsewhere(bytes, static_cast<std::size_t>(count));
  out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(count));
}

}  // namespace

std::string lowered(std::string_view text) {
  std::string result;
  std::size_t bytes = 1;
  char32_t before = 0;
  for (std::size_t at = 0; at < text.size(); at += bytes) {
    const char32_t c = code_point(text, at, &bytes);
    if (c < 0x80) {
      result += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : static_cast<char>(c);
    } else if (c == 0xfffd) {
      result += text.substr(at, bytes);
    } else if (c == 0x130) {
      result += "i\u0307";
    } else if (c == 0x3a3) {
      // A sigma that ends a word.
      std::size_t next_bytes = 1;
      const bool followed = at + bytes < text.size() && is_cased(code_point(text, at + bytes, &next_bytes));
      append(result, is_cased(before) && !followed ? 0x3c2 : 0x3c3);
    } else {
      append(result, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
    before = c;
  }
  return result;
}

bool exact_match(std::string_view prediction, std::string_view reference, std::span<const PythonRegex> ignored,
                 bool ignore_case, bool ignore_punctuation) {
  const auto reduced = [&](std::string_view raw) {
    std::string text(raw);
    for (const PythonRegex& expression : ignored) text = expression.replace(text, "");
    if (ignore_case) text = lowered(text);
    if (ignore_punctuation) std::erase_if(text, [](char c) { return c > 0 && std::ispunct(static_cast<unsigned char>(c)) != 0; });
    return text;
  };
  return reduced(prediction) == reduced(reference);
}

std::function<std::string(const std::string&)> regex_filter(std::string_view pattern, int select, std::string fallback) {
  const auto expression = std::make_shared<const PythonRegex>(PythonRegex::known(pattern));
  return [expression, select, fallback](const std::string& text) -> std::string {
    const std::vector<PythonRegex::Match> matches = expression->find_all(text);
    const int64_t count = static_cast<int64_t>(matches.size()), index = select < 0 ? count + select : select;
    if (index < 0 || index >= count) return fallback;
    const PythonRegex::Match& match = matches[static_cast<std::size_t>(index)];
    std::string found;
    if (match.groups.empty()) {
      found = text.substr(match.begin, match.end - match.begin);
    } else if (match.groups.size() == 1) {
      found = match.groups[0];
    } else {
      found = fallback;
      for (const std::string& group : match.groups) {
        if (group.empty()) continue;
        found = group;
        break;
      }
    }
    const std::size_t end = rstripped(found);
    std::size_t begin = 0, bytes = 1;
    while (begin < end && is_space(code_point(found, begin, &bytes))) begin += bytes;
    return found.substr(begin, end - begin);
  };
}

}  // namespace nbl::eval
