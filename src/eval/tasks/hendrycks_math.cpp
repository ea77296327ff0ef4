// MATH (Hendrycks et al., 2021): competition problems, judged by the equivalence of their answers.
#include <array>

#include "eval/math_answers.h"
#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

struct Subject {
  const char *id, *file;
};
constexpr std::array<Subject, 7> kSubjects = {{{"algebra", "algebra"},
                                               {"counting_and_prob", "counting_and_probability"},
                                               {"geometry", "geometry"},
                                               {"intermediate_algebra", "intermediate_algebra"},
                                               {"num_theory", "number_theory"},
                                               {"prealgebra", "prealgebra"},
                                               {"precalc", "precalculus"}}};

/// What stands between the first and the last dollar sign, or everything.
std::string answered(const std::string& text) {
  const std::size_t first = text.find('$'), last = text.rfind('$');
  return first == last ? text : text.substr(first + 1, last - first - 1);
}

}  // namespace

void hendrycks_math_tasks(TaskList& list) {
  TaskGroup group;
  group.id = "hendrycks_math";
  group.metrics = {"exact_match,none"};
  for (const Subject& subject : kSubjects) {
    Task t;
    t.id = std::string("hendrycks_math_") + subject.id;
    t.tags = {"math_word_problems"};
    t.summary = "MATH: " + replaced(subject.file, "_", " ");
    t.output = Output::generate;
    t.data = {{std::string("hendrycks_math/") + subject.file + "/test.jsonl"}};
    t.fewshot = {{std::string("hendrycks_math/") + subject.file + "/train.jsonl"}};
    t.process = [](Fields& f) {
      const std::string solution = f.text("solution");
      const auto answer = last_boxed(solution);
      if (f.ok() && !answer) f.fail("\"solution\" has no \\boxed answer");
      return strings({{"problem", f.text("problem")}, {"solution", solution}, {"answer", answer.value_or("")}});
    };
    t.text = [](Fields& f) { return "Problem: " + f.text("problem") + "\nAnswer:"; };
    t.target = [](Fields& f) { return f.text("answer"); };
    t.generation.until = {"Problem:"};
    t.judge = [](Fields& f, const Answer& answer, MetricSink& out) {
      out.add("exact_match", same_math_answer(answered(answer.text), f.text("answer")) ? 1.0 : 0.0);
    };
    t.metrics = {mean_of("exact_match")};
    group.members.push_back(t.id);
    list.tasks.push_back(std::move(t));
  }
  list.groups.push_back(std::move(group));
}

}  // namespace nbl::eval
