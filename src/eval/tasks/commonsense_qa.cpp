// CommonsenseQA (Talmor et al., 2019): five-way questions.
#include "eval/tasks/task_list.h"

namespace nbl::eval {

void commonsense_qa_tasks(TaskList& list) {
  Task t;
  t.id = "commonsense_qa";
  t.version = "Yaml";
  t.summary = "five-way common sense questions (CommonsenseQA)";
  t.data = {{"commonsense_qa/validation.jsonl"}, {"choice/commonsense_qa.jsonl"}};
  t.fewshot = {{"commonsense_qa/train.jsonl"}};
  t.fewshot_excludes = true;
  t.text = [](Fields& f) {
    std::string text = "Question: " + stripped(f.text("question"));
    const std::vector<std::string> choices = f.texts("choices.text");
    if (choices.size() != 5) f.fail("expected five choices");
    for (std::size_t i = 0; i < choices.size(); ++i) text += "\n" + std::string(1, static_cast<char>('A' + i)) + ". " + choices[i];
    return text + "\nAnswer:";
  };
  t.choices = [](Fields&) { return std::vector<std::string>{"A", "B", "C", "D", "E"}; };
  t.gold = [](Fields& f) { return std::vector<int64_t>{index_of(f, {"A", "B", "C", "D", "E"}, f.text("answerKey"))}; };
  t.metrics = {mean_of("acc")};
  list.tasks.push_back(std::move(t));
}

}  // namespace nbl::eval
