// SNLI (Bowman et al., 2015): does a sentence follow from another. The harness has no task of this name; the prompt is
// the one that it uses for MultiNLI.
#include "eval/tasks/task_list.h"

namespace nbl::eval {

void snli_tasks(TaskList& list) {
  Task t;
  t.id = "snli";
  t.summary = "does a sentence follow from another (SNLI; our own prompt, that of the harness's mnli)";
  t.data = {{"snli/validation.jsonl"}, {"choice/snli_dev_first3000.jsonl"}};
  t.fewshot = {{"snli/train.jsonl"}};
  t.process = [](Fields& f) {
    // Pairs on which the annotators did not agree carry "-" or -1 and are not used.
    const Json* label = f.find("label");
    const bool none = label != nullptr && ((label->is_string() && label->as_string() == "-") || (label->is_int() && label->as_int() < 0));
    return none ? Json() : f.record();
  };
  t.text = [](Fields& f) {
    std::string hypothesis = stripped(f.text("hypothesis"));
    if (!hypothesis.ends_with('.')) hypothesis += '.';
    return f.text("premise") + "\nQuestion: " + hypothesis + " True, False or Neither?\nAnswer:";
  };
  t.choices = [](Fields&) { return std::vector<std::string>{"True", "Neither", "False"}; };
  t.gold = [](Fields& f) {
    const Json* label = f.find("label");
    if (label != nullptr && label->is_int()) return std::vector<int64_t>{label->as_int()};
    return std::vector<int64_t>{index_of(f, {"entailment", "neutral", "contradiction"}, f.text("label"))};
  };
  t.metrics = {mean_of("acc")};
  list.tasks.push_back(std::move(t));
}

}  // namespace nbl::eval
