// COPA (Roemmele et al., 2011): the likelier cause or effect.
#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

std::string small_first(std::string text) {
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

}  // namespace

void copa_tasks(TaskList& list) {
  Task t;
  t.id = "copa";
  t.tags = {"super-glue-lm-eval-v1"};
  t.summary = "the likelier cause or effect (COPA)";
  t.data = {{"copa/validation.jsonl"}, {"choice/copa.jsonl"}};
  t.fewshot = {{"copa/train.jsonl"}};
  t.fewshot_excludes = true;
  t.process = [](Fields& f) {
    if (!f.has("query")) return f.record();
    std::string premise = f.text("query");
    const bool effect = premise.ends_with(", therefore");
    const std::string_view tail = effect ? ", therefore" : ", because";
    if (!premise.ends_with(tail)) f.fail("\"query\" ends with neither \", therefore\" nor \", because\"");
    if (f.ok()) premise.resize(premise.size() - tail.size());
    const std::vector<std::string> choices = f.texts("choices");
    if (choices.size() != 2) f.fail("expected two choices");
    Json doc = strings({{"premise", premise + "."},
                        {"question", effect ? "effect" : "cause"},
                        {"choice1", choices.empty() ? "" : choices[0]},
                        {"choice2", choices.size() < 2 ? "" : choices[1]}});
    doc.set("label", f.integer("gold"));
    return doc;
  };
  t.text = [](Fields& f) {
    std::string premise = stripped(f.text("premise"));
    if (!premise.empty()) premise.pop_back();  // the full stop
    const std::string question = f.text("question");
    if (question != "cause" && question != "effect") f.fail("\"question\" must be \"cause\" or \"effect\"");
    return premise + (question == "cause" ? " because" : " therefore");
  };
  // The choices bring their own space, and the delimiter adds another, as in the harness.
  t.choices = [](Fields& f) {
    return std::vector<std::string>{" " + small_first(f.text("choice1")), " " + small_first(f.text("choice2"))};
  };
  t.gold = [](Fields& f) { return std::vector<int64_t>{f.integer("label")}; };
  t.metrics = {mean_of("acc")};
  list.tasks.push_back(std::move(t));
}

}  // namespace nbl::eval
