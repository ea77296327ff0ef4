// MMLU (Hendrycks et al., 2021): 57 subjects in four groups.
#include <array>

#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

struct Group {
  std::string_view name, alias, subjects;
};

constexpr std::array<Group, 4> kGroups{{
    {"mmlu_humanities", "humanities",
     "formal_logic high_school_european_history high_school_us_history high_school_world_history international_law "
     "jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law world_religions"},
    {"mmlu_other", "other",
     "business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing medical_genetics "
     "miscellaneous nutrition professional_accounting professional_medicine virology"},
    {"mmlu_social_sciences", "social sciences",
     "econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics "
     "high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations "
     "security_studies sociology us_foreign_policy"},
    {"mmlu_stem", "stem",
     "abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science college_mathematics "
     "college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics "
     "high_school_biology high_school_chemistry high_school_computer_science high_school_mathematics high_school_physics "
     "high_school_statistics machine_learning"},
}};

/// The hub's {question, choices, answer}; or a row of the CSV files, with columns named or in the authors' order, the answer
/// a number or a letter.
Json published(Fields& f) {
  if (f.has("choices")) return f.record();
  const bool named = f.has("question");
  std::vector<std::string> choices;
  choices.reserve(4);
  for (int i = 0; i < 4; ++i) choices.push_back(f.text(named ? "choice" + std::to_string(i) : std::to_string(i + 1)));
  std::string answer = f.text(named ? "answer" : "5");
  if (answer.size() == 1 && answer[0] >= 'A' && answer[0] <= 'D') answer = std::string(1, static_cast<char>(answer[0] - 'A' + '0'));
  Json doc = strings({{"question", f.text(named ? "question" : "0")}, {"answer", answer}});
  doc.set("choices", string_array(choices));
  return doc;
}

Task subject_task(const std::string& subject) {
  Task t;
  t.id = "mmlu_" + subject;
  t.alias = subject;
  t.summary = "MMLU: " + replaced(subject, "_", " ");
  t.data = {{"mmlu/test/" + subject + ".jsonl"}, {"mmlu/test/" + subject + "_test.csv", read_csv}};
  t.fewshot = {{"mmlu/dev/" + subject + ".jsonl"}, {"mmlu/dev/" + subject + "_dev.csv", read_csv}};
  t.fewshot_first = true;
  t.description = "The following are multiple choice questions (with answers) about " + replaced(subject, "_", " ") + ".\n\n";
  t.process = published;
  t.text = [](Fields& f) {
    std::string text = stripped(f.text("question"));
    const std::vector<std::string> choices = f.texts("choices");
    if (choices.size() != 4) f.fail("expected four choices");
    for (std::size_t i = 0; i < choices.size(); ++i) text += "\n" + std::string(1, static_cast<char>('A' + i)) + ". " + choices[i];
    return text + "\nAnswer:";
  };
  t.choices = [](Fields&) { return std::vector<std::string>{"A", "B", "C", "D"}; };
  t.gold = [](Fields& f) { return std::vector<int64_t>{f.integer("answer")}; };
  t.metrics = {mean_of("acc")};
  return t;
}

}  // namespace

void mmlu_tasks(TaskList& list) {
  TaskGroup whole;
  whole.id = "mmlu";
  whole.version = "2";
  whole.metrics = {"acc,none"};
  for (const Group& g : kGroups) {
    TaskGroup group;
    group.id = g.name;
    group.alias = g.alias;
    group.version = "2";
    group.metrics = {"acc,none"};
    for (std::string_view rest = g.subjects; !rest.empty();) {
      const std::string subject(rest.substr(0, rest.find(' ')));
      rest.remove_prefix(std::min(rest.size(), subject.size() + 1));
      Task task = subject_task(subject);
      group.members.push_back(task.id);
      task.tags = {group.id + "_tasks"};
      list.tasks.push_back(std::move(task));
    }
    whole.members.push_back(group.id);
    list.groups.push_back(std::move(group));
  }
  list.groups.push_back(std::move(whole));
}

}  // namespace nbl::eval
