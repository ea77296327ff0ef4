#include "text/pattern.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace nbl::text {

Result<Pattern> Pattern::parse(const Json& json) {
  if (const Json* text = json.find_value("String"); text != nullptr && text->is_string())
    return literal(text->as_string());
  if (const Json* text = json.find_value("Regex"); text != nullptr && text->is_string())
    return regex(text->as_string());
  if (json.is_string()) return literal(json.as_string());
  return Status(Code::corrupt, "a pattern is neither {\"String\": ...} nor {\"Regex\": ...}");
}

Pattern Pattern::literal(std::string_view text) {
  Pattern p;
  p.text_ = std::string(text);
  return p;
}

Result<Pattern> Pattern::regex(std::string_view text) {
  Pattern p;
  p.text_ = std::string(text);
  NBL_ASSIGN(p.regex_, Regex::compile(text, "a pattern"));
  return p;
}

Status Pattern::find_all(std::string_view subject, FunctionRef<bool(std::size_t, std::size_t)> on_match) const {
  if (regex_) return regex_->find_all(subject, on_match);
  if (text_.empty()) return {};
  std::size_t at = 0;
  while ((at = subject.find(text_, at)) != std::string_view::npos) {
    if (!on_match(at, at + text_.size())) break;
    at += text_.size();
  }
  return {};
}

}  // namespace nbl::text
