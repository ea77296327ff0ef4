// How a task file's rules (doc_to_text, doc_to_target, doc_to_choice) make something of a document.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "eval/fields.h"
#include "text/jinja.h"

namespace nbl::eval {

/// str() of a value that came out of JSON, as Python writes it.
std::string python_text(const Json& value);

/// A list or tuple as Python writes it ("['a', \"b's\", 3]"), the whole of `text`; nothing where it is none.
std::optional<Json> python_list(std::string_view text);

/// One rule: the name of a field, a template, or the value itself.
class Rule {
 public:
  /// `what` names the rule in messages. unsupported: a value that the harness does not take either.
  static Result<Rule> create(const Json& source, std::string_view what);

  /// The field's value or the value itself as it is; else the template's text.
  Json value(Fields& f) const;
  bool is_template(const Fields& f) const { return literal_.is_null() && f.record().find(source_) == nullptr; }
  const std::string& what() const { return what_; }

 private:
  std::string source_, what_;
  Json literal_;
  std::shared_ptr<const text::Template> template_;
};

/// doc_to_text: the question. Text of nothing but digits beside choices means several contexts, which is refused.
std::string question_of(const Rule& rule, Fields& f, bool has_choices);
/// doc_to_choice: a list, the values of a mapping, or a template that writes a list.
std::vector<std::string> choices_of(const Rule& rule, Fields& f);
/// doc_to_target: an integer, a text or a list. A template's digits are an integer where there are choices.
Json target_of(const Rule& rule, Fields& f, bool has_choices);
/// The indices among `choices` that a target means.
std::vector<int64_t> gold_of(const Json& target, const std::vector<std::string>& choices, Fields& f);
/// The answer that an example shows: of an index the choice, of a list the first.
std::string shown_answer(const Json& target, const std::vector<std::string>* choices, Fields& f);

}  // namespace nbl::eval
