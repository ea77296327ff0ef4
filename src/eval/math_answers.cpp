#include "eval/math_answers.h"

#include <algorithm>

#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

/// Nothing: the text cannot be normalized, so that texts are compared as they are.
using Text = std::optional<std::string>;

std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  for (std::size_t at = 0;;) {
    const std::size_t next = text.find(separator, at);
    parts.push_back(text.substr(at, next == std::string::npos ? next : next - at));
    if (next == std::string::npos) return parts;
    at = next + separator.size();
  }
}

/// \frac12 and \frac1{72} with braces.
Text fix_fractions(const std::string& text) {
  const std::vector<std::string> parts = split(text, "\\frac");
  std::string result = parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::string& part = parts[i];
    result += "\\frac";
    if (part.empty()) return std::nullopt;
    if (part[0] == '{') {
      result += part;
      continue;
    }
    if (part.size() < 2) return text;
    const std::string rest = part.substr(2);
    result += std::string("{") + part[0] + "}" + (part[1] == '{' ? std::string("{") + rest : std::string("{") + part[1] + "}" + rest);
  }
  return result;
}

/// \sqrt3 with braces.
Text fix_roots(const std::string& text) {
  const std::vector<std::string> parts = split(text, "\\sqrt");
  std::string result = parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) {
    if (parts[i].empty()) return std::nullopt;
    result += parts[i][0] == '{' ? "\\sqrt" + parts[i] : std::string("\\sqrt{") + parts[i][0] + "}" + parts[i].substr(1);
  }
  return result;
}

bool plain_integer(const std::string& text) {
  const std::size_t start = text.starts_with('-') ? 1 : 0;
  const bool digits = text.size() > start && text.find_first_not_of("0123456789", start) == std::string::npos;
  return digits && (text.size() == start + 1 || text[start] != '0') && text != "-0";
}

/// Whether Python's int() takes it though it is not written plainly.
bool odd_integer(const std::string& text) {
  std::string digits = text;
  if (!digits.empty() && (digits[0] == '+' || digits[0] == '-')) digits.erase(0, 1);
  return !digits.empty() && digits.find_first_not_of("0123456789_") == std::string::npos && digits[0] != '_' && digits.back() != '_';
}

/// 1/2 as \frac{1}{2}.
Text fix_slash(const std::string& text) {
  const std::vector<std::string> parts = split(text, "/");
  if (parts.size() != 2) return text;
  if (plain_integer(parts[0]) && plain_integer(parts[1])) return "\\frac{" + parts[0] + "}{" + parts[1] + "}";
  return odd_integer(parts[0]) && odd_integer(parts[1]) ? Text(text) : std::nullopt;
}

Text normalized(std::string_view raw) {
  std::string s(raw);
  for (const auto& [from, to] : {std::pair<const char*, const char*>{"\n", ""}, {"\\!", ""}, {"\\\\", "\\"}, {"tfrac", "frac"},
                                 {"dfrac", "frac"}, {"\\left", ""}, {"\\right", ""}, {"^{\\circ}", ""}, {"^\\circ", ""}, {"\\$", ""}}) {
    s = replaced(s, from, to);
  }
  const std::vector<std::string> units = split(s, "\\text{ ");
  if (units.size() > 2) return std::nullopt;
  s = units[0];
  s = replaced(s, "\\%", "");
  s = replaced(replaced(s, " .", " 0."), "{.", "{0.");
  if (s.empty()) return s;
  if (s[0] == '.') s = "0" + s;
  const std::vector<std::string> sides = split(s, "=");
  if (sides.size() == 2 && sides[0].size() <= 2) s = sides[1];
  const Text roots = fix_roots(s);
  if (!roots) return std::nullopt;
  const Text fractions = fix_fractions(replaced(*roots, " ", ""));
  if (!fractions) return std::nullopt;
  s = *fractions == "0.5" ? "\\frac{1}{2}" : *fractions;
  return fix_slash(s);
}

}  // namespace

std::optional<std::string> last_boxed(std::string_view solution) {
  const std::size_t spaced = solution.rfind("\\boxed ");
  if (spaced != std::string_view::npos) {
    const std::string_view rest = solution.substr(spaced + 7);
    return std::string(rest.substr(0, rest.find('$')));
  }
  std::size_t at = solution.rfind("\\boxed");
  if (at == std::string_view::npos) at = solution.rfind("\\fbox");
  if (at == std::string_view::npos) return std::nullopt;
  int depth = 0;
  const std::size_t open = solution.find('{', at);
  for (std::size_t i = at; i < solution.size(); ++i) {
    if (solution[i] == '{') ++depth;
    if (solution[i] == '}' && --depth == 0) return std::string(solution.substr(open + 1, i - open - 1));
  }
  return std::nullopt;
}

bool same_math_answer(std::string_view a, std::string_view b) {
  const Text x = normalized(a), y = normalized(b);
  return x && y ? *x == *y : a == b;
}

}  // namespace nbl::eval
