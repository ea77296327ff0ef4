// WinoGrande (Sakaguchi et al., 2019): whom a pronoun means. Each choice fills the blank; the rest of the sentence is scored.
#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

/// {context_options, continuation, gold} back into a sentence with a blank: the options differ from some word on.
Json published(Fields& f) {
  if (!f.has("context_options")) return f.record();
  const std::vector<std::string> options = f.texts("context_options");
  if (options.size() != 2) {
    f.fail("expected two context_options");
    return Json();
  }
  std::size_t same = 0;
  while (same < options[0].size() && same < options[1].size() && options[0][same] == options[1][same]) ++same;
  const std::size_t space = same == 0 ? std::string::npos : options[0].rfind(' ', same - 1);
  const std::size_t cut = space == std::string::npos ? 0 : space + 1;
  return strings({{"sentence", options[0].substr(0, cut) + "_ " + f.text("continuation")},
                  {"option1", options[0].substr(cut)},
                  {"option2", options[1].substr(cut)},
                  {"answer", std::to_string(f.integer("gold") + 1)}});
}

std::size_t blank(Fields& f, const std::string& sentence) {
  const std::size_t at = sentence.find('_');
  if (at == std::string::npos) f.fail("\"sentence\" has no blank (_)");
  return at == std::string::npos ? 0 : at;
}

}  // namespace

void winogrande_tasks(TaskList& list) {
  Task t;
  t.id = "winogrande";
  t.summary = "whom a pronoun means (WinoGrande)";
  t.data = {{"winogrande/validation.jsonl"}, {"choice/winogrande.jsonl"}};
  t.fewshot = {{"winogrande/train.jsonl"}};
  t.fewshot_excludes = true;
  t.process = published;
  t.choices_are_contexts = true;
  t.choices = [](Fields& f) {
    const std::string sentence = f.text("sentence"), start = sentence.substr(0, blank(f, sentence));
    return std::vector<std::string>{start + f.text("option1"), start + f.text("option2")};
  };
  t.target = [](Fields& f) {
    const std::string sentence = f.text("sentence");
    if (sentence.empty()) return std::string();
    return stripped(std::string_view(sentence).substr(blank(f, sentence) + 1));
  };
  t.gold = [](Fields& f) {
    const std::string answer = f.text("answer");
    if (answer != "1" && answer != "2") f.fail("\"answer\" must be \"1\" or \"2\"");
    return std::vector<int64_t>{answer == "2" ? 1 : 0};
  };
  t.metrics = {mean_of("acc")};
  list.tasks.push_back(std::move(t));
}

}  // namespace nbl::eval
