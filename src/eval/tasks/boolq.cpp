// BoolQ (Clark et al., 2019): yes or no, after a passage.
#include "eval/tasks/task_list.h"

namespace nbl::eval {

void boolq_tasks(TaskList& list) {
  Task t;
  t.id = "boolq";
  t.version = "2.0";
  t.tags = {"super-glue-lm-eval-v1"};
  t.summary = "yes or no, after a passage (BoolQ)";
  t.data = {{"boolq/validation.jsonl"}, {"choice/boolq.jsonl"}};
  t.fewshot = {{"boolq/train.jsonl"}};
  t.fewshot_excludes = true;
  t.process = [](Fields& f) {
    if (!f.has("query")) return f.record();
    std::string passage = f.text("query"), question;
    if (passage.starts_with("Passage: ")) passage.erase(0, 9);
    const std::size_t at = passage.rfind("\nQuestion: ");
    if (at == std::string::npos) {
      f.fail("\"query\" has no line \"Question: ...\"");
    } else {
      question = passage.substr(at + 11);
      passage.resize(at);
      if (question.ends_with('?')) question.pop_back();
    }
    Json doc = strings({{"passage", passage}, {"question", question}});
    doc.set("label", f.integer("gold"));
    return doc;
  };
  t.text = [](Fields& f) { return f.text("passage") + "\nQuestion: " + f.text("question") + "?\nAnswer:"; };
  t.choices = [](Fields&) { return std::vector<std::string>{"no", "yes"}; };
  t.gold = [](Fields& f) { return std::vector<int64_t>{f.integer("label")}; };
  t.metrics = {mean_of("acc")};
  list.tasks.push_back(std::move(t));
}

}  // namespace nbl::eval
