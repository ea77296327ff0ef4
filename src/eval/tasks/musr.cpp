// MuSR (Sprague et al., 2024): long stories that must be reasoned about.
#include "eval/python_regex.h"
#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

/// An array, or a Python list of strings written out: "['a', \"b's\"]".
std::vector<std::string> choices_of(Fields& f) {
  const Json* value = f.find("choices");
  if (value != nullptr && value->is_array()) return f.texts("choices");
  const std::string text = f.text("choices");
  static const PythonRegex quoted = PythonRegex::known("'((?:[^'\\\\]|\\\\.)*)'|\"((?:[^\"\\\\]|\\\\.)*)\"");
  std::vector<std::string> result;
  for (const PythonRegex::Match& m : quoted.find_all(text)) {
    const std::string& inside = m.groups[0].empty() ? m.groups[1] : m.groups[0];
    result.push_back(replaced(replaced(inside, "\\'", "'"), "\\\"", "\""));
  }
  if (result.size() < 2) f.fail("\"choices\" must be a list of two strings or more");
  return result;
}

}  // namespace

void musr_tasks(TaskList& list) {
  TaskGroup group;
  group.id = "leaderboard_musr";
  group.metrics = {"acc_norm,none"};
  for (const std::string split : {"murder_mysteries", "object_placements", "team_allocation"}) {
    Task t;
    t.id = "leaderboard_musr_" + split;
    t.summary = "stories to reason about: " + replaced(split, "_", " ") + " (MuSR)";
    t.data = {{"musr/" + split + ".jsonl"}, {"musr/" + split + ".csv", read_csv}};
    t.fewshot_from_test = true;
    t.text = [](Fields& f) {
      std::string text = f.text("narrative") + "\n\n" + f.text("question") + "\n\n";
      const std::vector<std::string> choices = choices_of(f);
      for (std::size_t i = 0; i < choices.size(); ++i) text += std::to_string(i + 1) + " - " + choices[i] + "\n";
      return text + "\nAnswer:";
    };
    t.choices = choices_of;
    t.gold = [](Fields& f) { return std::vector<int64_t>{index_of(f, choices_of(f), f.text("answer_choice"))}; };
    t.metrics = {mean_of("acc_norm")};
    group.members.push_back(t.id);
    list.tasks.push_back(std::move(t));
  }
  list.groups.push_back(std::move(group));
}

}  // namespace nbl::eval
