// GSM8K (Cobbe et al., 2021): grade school mathematics, with the answer after "####".
#include "eval/python_regex.h"
#include "eval/tasks/task_list.h"
#include "eval/text_metrics.h"

namespace nbl::eval {

void gsm8k_tasks(TaskList& list) {
  Task t;
  t.id = "gsm8k";
  t.version = "3.0";
  t.tags = {"math_word_problems"};
  t.summary = "grade school mathematics, worked out in words (GSM8K)";
  t.output = Output::generate;
  t.data = {{"gsm8k/test.jsonl"}, {"generate/test.jsonl"}};
  t.fewshot = {{"gsm8k/train.jsonl"}, {"generate/train.jsonl"}};
  t.num_fewshot = 5;
  t.text = [](Fields& f) { return "Question: " + f.text("question") + "\nAnswer:"; };
  t.target = [](Fields& f) { return f.text("answer"); };
  t.generation.until = {"Question:", "</s>", "<|im_end|>"};
  t.filters = {{"strict-match", regex_filter("#### (\\-?[0-9\\.\\,]+)", 0)},
               {"flexible-extract", regex_filter("(-?[$0-9.,]{2,})|(-?[0-9]+)", -1)}};
  t.judge = [](Fields& f, const Answer& answer, MetricSink& out) {
    static const std::vector<PythonRegex> ignored = compile_all({",", "\\$", "(?s).*#### ", "\\.$"});
    out.add("exact_match", exact_match(answer.text, f.text("answer"), ignored, true, false) ? 1.0 : 0.0);
  };
  t.metrics = {mean_of("exact_match")};
  list.tasks.push_back(std::move(t));
}

}  // namespace nbl::eval
