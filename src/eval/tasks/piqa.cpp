// PIQA (Bisk et al., 2020): which of two ways reaches an everyday goal.
#include "eval/tasks/task_list.h"

namespace nbl::eval {

void piqa_tasks(TaskList& list) {
  Task t;
  t.id = "piqa";
  t.summary = "which of two ways reaches an everyday goal (PIQA)";
  t.data = {{"piqa/validation.jsonl"}, {"choice/piqa.jsonl"}};
  t.fewshot = {{"piqa/train.jsonl"}};
  t.fewshot_excludes = true;
  t.process = [](Fields& f) {
    if (!f.has("query")) return f.record();
    std::string goal = f.text("query");
    if (goal.starts_with("Question: ")) goal.erase(0, 10);
    if (goal.ends_with('\n')) goal.pop_back();
    const std::vector<std::string> choices = f.texts("choices");
    if (choices.size() != 2) f.fail("expected two choices");
    Json doc = strings({{"goal", goal}, {"sol1", choices.empty() ? "" : choices[0]}, {"sol2", choices.size() < 2 ? "" : choices[1]}});
    doc.set("label", f.integer("gold"));
    return doc;
  };
  t.text = [](Fields& f) { return "Question: " + f.text("goal") + "\nAnswer:"; };
  t.choices = [](Fields& f) { return std::vector<std::string>{f.text("sol1"), f.text("sol2")}; };
  t.gold = [](Fields& f) { return std::vector<int64_t>{f.integer("label")}; };
  t.metrics = {mean_of("acc"), mean_of("acc_norm")};
  list.tasks.push_back(std::move(t));
}

}  // namespace nbl::eval
