// BIG-bench's code_line_description (Srivastava et al., 2022): what a few lines of Python do.
#include "eval/tasks/task_list.h"
#include "eval/text_metrics.h"

namespace nbl::eval {
namespace {

/// The hub's {inputs, targets, multiple_choice_targets, multiple_choice_scores}; or the repository's task.json, whose examples are
/// {input, target_scores}.
Result<std::vector<Json>> read_examples(std::string_view bytes, std::string_view origin) {
  NBL_ASSIGN(const Json whole, Json::parse(bytes, origin));
  const Json* examples = whole.find_value("examples");
  if (examples == nullptr || !examples->is_array())
    return Status(Code::corrupt, std::string(origin) + ": expected an array \"examples\"");
  std::vector<Json> records;
  for (const Json& example : examples->elements()) {
    const Json *input = example.find_value("input"), *scores = example.find_value("target_scores");
    if (input == nullptr || scores == nullptr || !scores->is_object())
      return Status(Code::corrupt, std::string(origin) + ", example " + std::to_string(records.size() + 1) +
                                       ": expected \"input\" and \"target_scores\"");
    Json choices = Json::array(), values = Json::array(), targets = Json::array();
    for (const auto& [choice, score] : scores->members()) {
      choices.push_back(choice);
      values.push_back(score);
      if (score.as_double() == 1) targets.push_back(choice);
    }
    records.push_back(Json::object({{"inputs", *input},
                                    {"targets", std::move(targets)},
                                    {"multiple_choice_targets", std::move(choices)},
                                    {"multiple_choice_scores", std::move(values)}}));
  }
  return records;
}

}  // namespace

void bigbench_tasks(TaskList& list) {
  const std::string folder = "bigbench/code_line_description";
  for (const bool choose : {true, false}) {
    Task t;
    t.id = std::string("bigbench_code_line_description_") + (choose ? "multiple_choice" : "generate_until");
    t.tags = {choose ? "bigbench_multiple_choice_a" : "bigbench_generate_until"};
    t.summary = std::string("what a few lines of Python do (BIG-bench), ") + (choose ? "by choice" : "in free words");
    t.data = {{folder + ".jsonl"}, {folder + "/task.json", read_examples}, {folder + ".json", read_examples}};
    t.fewshot_from_test = true;
    t.text = [](Fields& f) { return f.text("inputs"); };
    if (choose) {
      t.choices = [](Fields& f) { return f.texts("multiple_choice_targets"); };
      t.gold = [](Fields& f) {
        const std::vector<std::string> targets = f.texts("targets");
        if (targets.empty()) f.fail("\"targets\" is empty");
        return std::vector<int64_t>{targets.empty() ? 0 : index_of(f, f.texts("multiple_choice_targets"), targets[0])};
      };
      t.metrics = {mean_of("acc")};
    } else {
      t.output = Output::generate;
      t.target = [](Fields& f) {
        const std::vector<std::string> targets = f.texts("targets");
        if (targets.empty()) f.fail("\"targets\" is empty");
        return targets.empty() ? std::string() : targets[0];
      };
      // The harness stops at what separates examples when a task names no stop strings.
      t.generation.until = {"\n\n"};
      t.generation.max_tokens = 128;
      t.judge = [](Fields& f, const Answer& answer, MetricSink& out) {
        const std::vector<std::string> targets = f.texts("targets");
        out.add("exact_match", !targets.empty() && exact_match(answer.text, targets[0], {}, false, true) ? 1.0 : 0.0);
      };
      t.metrics = {mean_of("exact_match")};
    }
    list.tasks.push_back(std::move(t));
  }
}

}  // namespace nbl::eval
