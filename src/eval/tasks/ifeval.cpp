// IFEval (Zhou et al., 2023): instructions whose following can be checked. Languages and sentences are told apart by rules of our
// own (language.cpp), the harness uses langdetect and NLTK.
#include "eval/ifeval.h"

#include <algorithm>

#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

/// Mean over all instructions of all prompts.
double instruction_mean(std::span<const MetricValue> values) {
  double followed = 0, asked = 0;
  for (const MetricValue& v : values) {
    for (const double n : v.numbers) followed += n;
    asked += static_cast<double>(v.numbers.size());
  }
  return asked == 0 ? 0 : followed / asked;
}
const Aggregation kInstructionMean = {"agg_inst_level_acc", instruction_mean};

/// One answer judged: all followed, and each.
void judge(Fields& f, const Answer& answer, MetricSink& out) {
  const std::vector<std::string> ids = f.texts("instruction_id_list");
  const Json* kwargs = f.find("kwargs");
  if (kwargs == nullptr || kwargs->size() != ids.size()) {
    f.fail("\"kwargs\" must have as many entries as \"instruction_id_list\"");
    return;
  }
  for (const bool loose : {false, true}) {
    const auto followed = follows_instructions(ids, kwargs->elements(), answer.text, loose);
    if (!followed.ok()) {
      f.fail(followed.status().message());
      return;
    }
    std::vector<double> each(followed->begin(), followed->end());
    const bool all = std::all_of(each.begin(), each.end(), [](double x) { return x == 1; });
    const std::string kind = loose ? "loose" : "strict";
    out.add("prompt_level_" + kind + "_acc", all ? 1.0 : 0.0);
    out.add("inst_level_" + kind + "_acc", std::move(each));
  }
}

}  // namespace

void ifeval_tasks(TaskList& list) {
  Task t;
  t.id = "ifeval";
  t.version = "4.0";
  t.summary = "instructions whose following can be checked (IFEval), strict and loose";
  t.output = Output::generate;
  t.zero_shot = true;
  t.data = {{"ifeval/train.jsonl"}, {"generate/input_data.jsonl"}};
  t.text = [](Fields& f) { return f.text("prompt"); };
  t.target = [](Fields&) { return std::string("0"); };
  t.process = [](Fields& f) {
    f.text("prompt");
    for (const std::string& id : f.texts("instruction_id_list")) {
      const auto known = instruction_ids();
      if (std::find(known.begin(), known.end(), id) == known.end()) f.fail("\"" + id + "\" is none of IFEval's instructions");
    }
    return f.record();
  };
  t.generation.max_tokens = 1280;
  t.judge = judge;
  t.metrics = {mean_of("prompt_level_strict_acc"), {"inst_level_strict_acc", &kInstructionMean, true},
               mean_of("prompt_level_loose_acc"), {"inst_level_loose_acc", &kInstructionMean, true}};
  list.tasks.push_back(std::move(t));
}

}  // namespace nbl::eval
