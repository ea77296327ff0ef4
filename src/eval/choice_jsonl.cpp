#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/bounds.h"
#include "eval/eval.h"
#include "eval/characters.h"

namespace nbl::eval {
namespace {

constexpr BoundOf<std::size_t> kMaxChoices{Bound::task_choices};

Status bad_line(std::string_view origin, std::size_t line, const std::string& what) {
  return Status(Code::corrupt, fmt::format("{}, line {}: {}", origin, line, what));
}

/// The first of the keys that the record has.
const Json* either(const Json& record, std::string_view a, std::string_view b) {
  const Json* value = record.find_value(a);
  return value != nullptr ? value : record.find_value(b);
}

}  // namespace

Result<std::vector<ChoiceDoc>> parse_choice_jsonl(std::string_view jsonl, std::string_view origin) {
  std::vector<ChoiceDoc> documents;
  std::map<std::string, std::size_t> seen;  // id, line
  std::size_t line = 0;
  if (jsonl.starts_with("\xef\xbb\xbf")) jsonl.remove_prefix(3);
  while (!jsonl.empty()) {
    ++line;
    const std::size_t end = std::min(jsonl.find('\n'), jsonl.size());
    const std::string_view text = jsonl.substr(0, end);
    jsonl.remove_prefix(std::min(end + 1, jsonl.size()));
    if (rstripped(text) == 0) continue;
    auto parsed = Json::parse(text, fmt::format("{}, line {}", origin, line));
    if (!parsed.ok()) return parsed.status();
    const Json record = std::move(parsed).value();
    const Json* context = either(record, "context", "query");
    const Json* choices = record.find_value("choices");
    const Json* answer = either(record, "answer", "gold");
    if (context == nullptr || !context->is_string())
      return bad_line(origin, line, "expected a string \"context\" (or \"query\")");
    if (choices == nullptr || !choices->is_array()) return bad_line(origin, line, "expected an array \"choices\"");
    if (answer == nullptr) return bad_line(origin, line, "the \"answer\" (or \"gold\") is missing");
    if (!answer->is_int()) return bad_line(origin, line, "the answer must be the index of a choice");
    if (const Json* id = record.find_value("id")) {
      const auto [first, fresh] = seen.emplace(id->is_string() ? std::string(id->as_string()) : id->dump(), line);
      if (!fresh) return bad_line(origin, line, fmt::format("the id \"{}\" stands on line {} already", first->first, first->second));
    }
    ChoiceDoc doc;
    doc.context = context->as_string();
    if (choices->size() < 2 || choices->size() > kMaxChoices) {
      return bad_line(origin, line, fmt::format("found {} choices, expected 2 to {}", choices->size(), kMaxChoices.get()));
    }
    for (const Json& choice : choices->elements()) {
      if (!choice.is_string() || choice.as_string().empty())
        return bad_line(origin, line, "every choice must be a string that is not empty");
      doc.choices.emplace_back(choice.as_string());
    }
    doc.answer = answer->as_int();
    if (doc.answer < 0 || doc.answer >= static_cast<int64_t>(doc.choices.size())) {
      return bad_line(origin, line,
                      fmt::format("the answer is {}, but there are {} choices", doc.answer, doc.choices.size()));
    }
    documents.push_back(std::move(doc));
  }
  if (documents.empty()) return Status(Code::corrupt, fmt::format("{} holds no documents", origin));
  return documents;
}

}  // namespace nbl::eval
