// MT-Bench (Zheng et al., 2023) and FollowBench (Jiang et al., 2024): answers that another model judges. Prompts and answers are written
// as samples; a judge's verdicts come back as JSON lines (setting "verdicts") and become the metric judge_score. What FollowBench checks
// by rule is checked here: an answer in the form of the examples.
#include <array>

#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

/// {"question_id", "category", "turns": [first, second], "reference"?}.
Json with_turns(Fields& f) {
  const std::vector<std::string> turns = f.texts("turns");
  if (f.ok() && turns.empty()) f.fail("\"turns\" is empty");
  return f.record();
}

/// FollowBench's rule for the example category: the answer is the target, whatever blanks surround it.
double matches_target(Fields& f, const Answer& answer) {
  const std::string target = squeezed(f.text("target")), said = squeezed(answer.text);
  return !target.empty() && said.find(target) != std::string::npos ? 1.0 : 0.0;
}

}  // namespace

void judged_tasks(TaskList& list) {
  Task mt;
  mt.id = "mt_bench";
  mt.tags = {"judged", "multi_turn"};
  mt.summary = "two-turn questions (MT-Bench): answers for a judge, and its verdicts";
  mt.output = Output::generate;
  mt.data = {{"mt_bench/question.jsonl"}};
  mt.process = with_turns;
  mt.text = [](Fields& f) {
    const std::vector<std::string> turns = f.texts("turns");
    return turns.empty() ? std::string() : turns[0];
  };
  mt.target = [](Fields&) { return std::string(); };
  mt.generation.max_tokens = 1024;
  mt.judge = [](Fields&, const Answer&, MetricSink&) {};
  mt.metrics = {mean_of("judge_score")};
  list.tasks.push_back(std::move(mt));

  TaskGroup group;
  group.id = "followbench";
  group.metrics = {"judge_score,none"};
  for (const char* category : {"content", "situation", "style", "format", "mixed", "example"}) {
    const std::string name = category;
    Task t;
    t.id = "followbench_" + name;
    t.tags = {"judged"};
    t.output = Output::generate;
    t.data = {{"followbench/" + name + "_constraints.json"}, {"followbench/" + name + "_constraints.jsonl"}};
    // Level 0 is the plain instruction, which no constraint is checked on.
    t.process = [](Fields& f) { return f.integer("level") == 0 ? Json() : f.record(); };
    t.text = [](Fields& f) { return f.text("instruction"); };
    t.target = [](Fields& f) { return f.text_or("target", ""); };
    t.generation.max_tokens = 1024;
    const bool by_rule = name == "example";
    t.summary = "constraints on an instruction: " + name + " (FollowBench), " + (by_rule ? "checked by rule" : "for a judge");
    t.judge = [by_rule](Fields& f, const Answer& answer, MetricSink& out) {
      if (by_rule) out.add("exact_match", matches_target(f, answer));
    };
    if (by_rule) {
      t.metrics = {mean_of("exact_match")};
    } else {
      t.metrics = {mean_of("judge_score")};
    }
    group.members.push_back(t.id);
    list.tasks.push_back(std::move(t));
  }
  list.groups.push_back(std::move(group));
}

}  // namespace nbl::eval
