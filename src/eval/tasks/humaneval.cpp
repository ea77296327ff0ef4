// HumanEval (Chen et al., 2021): functions completed from their docstrings, judged by running their tests in a sandbox.
#include <algorithm>

#include "eval/sandbox.h"
#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

/// Of n answers, c right: the chance that k of them drawn at random hold a right one (Chen et al.'s unbiased estimator).
double pass_at(int64_t n, int64_t c, int64_t k) {
  if (n - c < k) return 1.0;
  double none = 1.0;
  for (int64_t i = n - c + 1; i <= n; ++i) none *= 1.0 - static_cast<double>(k) / static_cast<double>(i);
  return 1.0 - none;
}

Task base(const std::string& id) {
  Task t;
  t.id = id;
  t.output = Output::generate;
  t.zero_shot = true;
  t.data = {{"humaneval/test.jsonl"}, {"generate/HumanEval.jsonl"}};
  t.text = [](Fields& f) { return f.text("prompt"); };
  t.target = [](Fields& f) { return f.text("test") + "\ncheck(" + f.text("entry_point") + ")"; };
  t.generation.until = {"\nclass", "\ndef", "\n#", "\nif", "\nprint"};
  t.generation.max_tokens = 1024;
  t.runs_code = true;
  t.filters = {{"create_test", {}, [](Fields& f, const std::string& text) { return f.text("prompt") + text; }}};
  return t;
}

auto judge_with(std::vector<int64_t> ks) {
  return [ks = std::move(ks)](Fields& f, const Answer& answer, MetricSink& out) {
    const std::string test = f.text("test") + "\ncheck(" + f.text("entry_point") + ")\n";
    int64_t right = 0;
    for (const std::string& program : answer.texts) {
      const auto ran = run_sandboxed("/usr/bin/python3", program + "\n" + test, {});
      if (!ran.ok()) {
        f.fail(ran.status().message());
        return;
      }
      right += ran->outcome == Outcome::passed ? 1 : 0;
    }
    const auto n = static_cast<int64_t>(answer.texts.size());
    for (const int64_t k : ks)
      if (k <= n) out.add("pass@" + std::to_string(k), pass_at(n, right, k));
  };
}

}  // namespace

void humaneval_tasks(TaskList& list) {
  Task t = base("humaneval");
  t.summary = "functions completed from their docstrings, judged by running them (HumanEval), pass@1";
  t.judge = judge_with({1});
  t.metrics = {mean_of("pass@1")};
  list.tasks.push_back(std::move(t));

  Task many = base("humaneval_64");
  many.summary = "the same with 64 sampled answers, pass@2 to pass@64";
  many.repeats = 64;
  many.generation.temperature = 0.2f;
  many.generation.top_p = 0.95f;
  many.judge = judge_with({2, 8, 16, 32, 64});
  for (const char* k : {"2", "8", "16", "32", "64"}) many.metrics.push_back(mean_of(std::string("pass@") + k));
  list.tasks.push_back(std::move(many));
}

}  // namespace nbl::eval
