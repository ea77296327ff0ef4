// MMLU-Pro (Wang et al., 2024): ten choices, worked out step by step.
#include <array>

#include "eval/tasks/task_list.h"
#include "eval/text_metrics.h"

namespace nbl::eval {
namespace {

constexpr std::array<std::string_view, 14> kSubjects = {
    "biology", "business", "chemistry", "computer science", "economics", "engineering", "health",
    "history", "law",      "math",      "other",            "philosophy", "physics",    "psychology"};

std::string question_of(Fields& f) {
  std::string text = "Question:\n" + f.text("question") + "\nOptions:\n";
  const std::vector<std::string> options = f.texts("options");
  for (std::size_t i = 0; i < options.size() && i < 10; ++i)
    text += std::string(1, static_cast<char>('A' + i)) + ". " + stripped(options[i]) + "\n";
  return text + "Answer: Let's think step by step.";
}

}  // namespace

void mmlu_pro_tasks(TaskList& list) {
  TaskGroup group;
  group.id = "mmlu_pro";
  group.version = "2.0";
  group.metrics = {"exact_match,custom-extract"};
  for (const std::string_view subject : kSubjects) {
    Task t;
    const std::string name(subject);
    t.id = "mmlu_pro_" + replaced(name, " ", "_");
    t.alias = replaced(name, " ", "_");
    t.version = "3.1";
    t.summary = "MMLU-Pro: " + name + ", chain of thought";
    t.output = Output::generate;
    t.data = {{"mmlu_pro/test.jsonl"}};
    t.fewshot = {{"mmlu_pro/validation.jsonl"}};
    t.fewshot_first = true;
    t.num_fewshot = 5;
    t.description = "The following are multiple choice questions (with answers) about " + name +
                    ". Think step by step and then finish your answer with \"the answer is (X)\" where X is the correct letter "
                    "choice.\n";
    t.process = [name](Fields& f) { return f.text("category") == name ? f.record() : Json(); };
    t.text = question_of;
    // Examples show their reasoning; the answer itself is a letter.
    t.target = [](Fields& f) { return replaced(f.text_or("cot_content", f.text("answer")), "A: Let's think step by step. ", ""); };
    t.generation.until = {"Question:"};
    t.generation.max_tokens = 2048;
    t.filters = {{"custom-extract", regex_filter("answer is \\(?([ABCDEFGHIJ])\\)?", 0)}};
    t.judge = [](Fields& f, const Answer& answer, MetricSink& out) {
      out.add("exact_match", exact_match(answer.text, f.text("answer"), {}, true, true) ? 1.0 : 0.0);
    };
    t.metrics = {mean_of("exact_match")};
    group.members.push_back(t.id);
    list.tasks.push_back(std::move(t));
  }
  list.groups.push_back(std::move(group));
}

}  // namespace nbl::eval
