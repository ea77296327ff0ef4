#include "eval/own_task_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "eval/python_regex.h"
#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

bool all_digits(std::string_view text) {
  return !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string_view::npos;
}

void append_utf8(std::string& out, uint32_t c) {
  const auto byte = [&](uint32_t b) { out += static_cast<char>(b); };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xc0 | c >> 6);
    byte(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    byte(0xe0 | c >> 12);
    byte(0x80 | (c >> 6 & 0x3f));
    byte(0x80 | (c & 0x3f));
  } else {
    byte(0xf0 | c >> 18);
    byte(0x80 | (c >> 12 & 0x3f));
    byte(0x80 | (c >> 6 & 0x3f));
    byte(0x80 | (c & 0x3f));
  }
}

/// Reads what ast.literal_eval reads of lists: strings, numbers, True, False, None, lists and tuples.
class Literal {
 public:
  explicit Literal(std::string_view text) : text_(text) {}

  std::optional<Json> whole() {
    std::optional<Json> result = value(0);
    blanks();
    return at_ == text_.size() ? result : std::nullopt;
  }

 private:
  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
  }

  std::optional<Json> value(int depth) {
    blanks();
    if (at_ >= text_.size() || depth > 64) return std::nullopt;
    const char c = text_[at_];
    if (c == '[' || c == '(') return list(c == '[' ? ']' : ')', depth);
    if (c == '\'' || c == '"') return quoted();
    const std::size_t end = std::min(text_.find_first_of(",]) \n\t\r", at_), text_.size());
    std::string_view word = text_.substr(at_, end - at_);
    at_ = end;
    if (word == "True" || word == "False") return Json(word == "True");
    if (word == "None") return Json();
    if (word.starts_with('+')) word.remove_prefix(1);
    int64_t whole = 0;
    const char* last = word.data() + word.size();
    if (auto [p, e] = std::from_chars(word.data(), last, whole); e == std::errc() && p == last) return Json(whole);
    double real = 0;
    if (auto [p, e] = std::from_chars(word.data(), last, real); !word.empty() && e == std::errc() && p == last) return Json(real);
    return std::nullopt;
  }

  std::optional<Json> list(char close, int depth) {
    Json result = Json::array();
    for (++at_;;) {
      blanks();
      if (at_ < text_.size() && text_[at_] == close) {
        ++at_;
        return result;
      }
      std::optional<Json> element = value(depth + 1);
      if (!element) return std::nullopt;
      result.push_back(std::move(*element));
      blanks();
      if (at_ < text_.size() && text_[at_] == ',') {
        ++at_;
      } else if (at_ >= text_.size() || text_[at_] != close) {
        return std::nullopt;
      }
    }
  }

  std::optional<Json> quoted() {
    const char quote = text_[at_++];
    std::string result;
    while (at_ < text_.size() && text_[at_] != quote) {
      const char c = text_[at_++];
      if (c == '\n') return std::nullopt;
      if (c != '\\') {
        result += c;
        continue;
      }
      if (at_ >= text_.size()) return std::nullopt;
      const char e = text_[at_++];
      constexpr std::string_view kNames = "ntrabfv\\'\"", kMeanings = "\n\t\r\a\b\f\v\\'\"";
      const std::size_t digits = e == 'x' ? 2 : e == 'u' ? 4 : e == 'U' ? 8 : 0;
      if (const std::size_t k = kNames.find(e); k != std::string_view::npos) {
        result += kMeanings[k];
      } else if (digits > 0) {
        uint32_t code = 0;
        if (at_ + digits > text_.size()) return std::nullopt;
        const char* first = text_.data() + at_;
        const auto [p, error] = std::from_chars(first, first + digits, code, 16);
        if (error != std::errc() || p != first + digits || code > 0x10ffff) return std::nullopt;
        append_utf8(result, code);
        at_ += digits;
      } else if (e != '\n') {
        result += '\\';
        result += e;
      }
    }
    if (at_ >= text_.size()) return std::nullopt;
    ++at_;
    return Json(std::move(result));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

std::vector<std::string> texts_of(std::span<const Json> elements) {
  std::vector<std::string> result;
  for (const Json& e : elements) result.push_back(python_text(e));
  return result;
}

}  // namespace

std::string python_text(const Json& value) {
  if (value.is_string()) return std::string(value.as_string());
  static const text::Template shown = [] {
    auto compiled = text::Template::compile("{{ value }}", "a value");
    return std::move(compiled).value();
  }();
  auto rendered = shown.render(Json::object({{"value", value}}));
  return rendered.ok() ? std::move(rendered).value() : std::string();
}

std::optional<Json> python_list(std::string_view text) {
  std::optional<Json> value = Literal(text).whole();
  return value && value->is_array() ? value : std::nullopt;
}

Result<Rule> Rule::create(const Json& source, std::string_view what) {
  Rule rule;
  rule.what_ = what;
  if (!source.is_string()) {
    if (!source.is_int() && !source.is_array() && !source.is_object())
      return Status(Code::unsupported, fmt::format("{} is neither a text, a number nor a list", what));
    rule.literal_ = source;
    return rule;
  }
  rule.source_ = std::string(source.as_string());
  text::TemplateOptions options;
  options.strict_undefined = true;
  options.keep_trailing_newline = true;
  // The harness's own filter: re.sub(pattern, replacement, text).
  options.filters["regex_replace"] = [](const Json& value, std::span<const Json> arguments) -> Result<Json> {
    if (arguments.size() != 2) return Status(Code::corrupt, "regex_replace takes a pattern and a replacement");
    NBL_ASSIGN(const PythonRegex pattern, PythonRegex::compile(arguments[0].as_string()));
    return Json(pattern.replace(value.as_string(), arguments[1].as_string()));
  };
  NBL_ASSIGN(text::Template compiled, text::Template::compile(rule.source_, what, options));
  rule.template_ = std::make_shared<const text::Template>(std::move(compiled));
  return rule;
}

Json Rule::value(Fields& f) const {
  if (!literal_.is_null()) return literal_;
  if (const Json* field = f.record().find(source_)) return *field;
  auto rendered = template_->render(f.record());
  if (!rendered.ok()) f.fail(rendered.status().message());
  return rendered.ok() ? Json(std::move(rendered).value()) : Json("");
}

std::string question_of(const Rule& rule, Fields& f, bool has_choices) {
  const Json value = rule.value(f);
  const bool digits = rule.is_template(f) && has_choices && all_digits(value.as_string());
  if (value.is_int() || digits) {
    f.fail(fmt::format("{} gives the index {}: choices that are contexts are outside the subset of task files that nibble runs", rule.what(),
                       python_text(value)));
  } else if (!value.is_string()) {
    f.fail(fmt::format("{} gives {}, expected text", rule.what(), value.dump()));
  }
  return std::string(value.as_string());
}

std::vector<std::string> choices_of(const Rule& rule, Fields& f) {
  const Json value = rule.value(f);
  if (value.is_array()) return texts_of(value.elements());
  if (value.is_object() && !rule.is_template(f)) {
    std::vector<std::string> result;
    for (const auto& [key, choice] : value.members()) result.push_back(python_text(choice));
    return result;
  }
  if (value.is_string() && rule.is_template(f)) {
    if (const std::optional<Json> list = python_list(value.as_string())) return texts_of(list->elements());
  }
  f.fail(fmt::format("{} gives {}, expected a list", rule.what(), value.dump()));
  return {};
}

Json target_of(const Rule& rule, Fields& f, bool has_choices) {
  Json value = rule.value(f);
  if (value.is_bool()) return value.as_bool() && has_choices ? Json(1) : has_choices ? Json(0) : value;
  if (!rule.is_template(f) || !value.is_string()) return value;
  const std::string_view text = value.as_string();
  if (has_choices && all_digits(text)) return Json(static_cast<int64_t>(std::stoll(std::string(text))));
  if (text.size() >= 2 && text.front() == '[' && text.back() == ']') {
    if (std::optional<Json> list = python_list(text)) return std::move(*list);
  }
  return value;
}

std::vector<int64_t> gold_of(const Json& target, const std::vector<std::string>& choices, Fields& f) {
  if (target.is_number()) return {target.as_int(-1)};
  if (target.is_string()) return {index_of(f, choices, target.as_string())};
  std::vector<int64_t> result;
  for (const Json& each : target.elements()) result.push_back(each.is_number() ? each.as_int(-1) : index_of(f, choices, each.as_string()));
  if (result.empty()) f.fail(fmt::format("the answer is {}, expected an index, a choice or a list of them", target.dump()));
  return result;
}

std::string shown_answer(const Json& target, const std::vector<std::string>* choices, Fields& f) {
  if (target.is_array()) {
    if (target.size() == 0) f.fail("the list of answers is empty");
    return target.size() == 0 ? std::string() : shown_answer(target.elements()[0], choices, f);
  }
  if (!target.is_int() || choices == nullptr) return python_text(target);
  const int64_t index = target.as_int();
  if (index < 0 || index >= static_cast<int64_t>(choices->size())) {
    f.fail(fmt::format("the answer is choice {}, but there are {}", index, choices->size()));
    return {};
  }
  return (*choices)[static_cast<std::size_t>(index)];
}

}  // namespace nbl::eval
