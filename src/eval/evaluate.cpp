#include "eval/evaluate.h"

#include <fmt/format.h>

#include <chrono>

#include "eval/answer.h"
#include "eval/ask.h"
#include "eval/judge.h"

namespace nbl::eval {
namespace {

using Clock = std::chrono::steady_clock;

Result<TaskRun> run_task(const std::shared_ptr<const model::Model>& model, Team& team, const Task& task,
                         const EvaluateOptions& options, const ProgressFn& progress) {
  const auto start = Clock::now();
  NBL_ASSIGN(const Plan plan, plan_task(task, options));
  NBL_ASSIGN(const Answers answers, answer_plan(model, team, plan, options, progress));
  TaskRun run;
  run.task = &task;
  run.num_fewshot = plan.num_fewshot;
  run.original = plan.documents.original;
  run.effective = static_cast<int64_t>(plan.documents.documents.size());
  run.truncated = answers.truncated;
  run.cached = answers.cached;
  run.data_file = plan.documents.file;
  run.data_sha256 = plan.documents.sha256;
  NBL_TRY(judge_answers(plan, answers.answers, options, &run));
  run.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return run;
}

/// Whether a task's files are there is known before anything is computed.
Status look_for_files(const Selection& selection, const EvaluateOptions& options, Selection* there, ModelRun* run) {
  there->groups = selection.groups;
  for (const Task* task : selection.tasks) {
    if (task->runs_code && !options.run_code) {
      return {Code::invalid_argument,
              fmt::format("task {} runs programs that the model wrote, in a sandbox; say that you want that: setting "
                          "run_unsafe_code, option --confirm-run-unsafe-code", task->id)};
    }
    const Status status = find_files(*task, options.data, false);
    if (status.ok()) {
      there->tasks.push_back(task);
    } else if (options.skip_missing && status.code() == Code::not_found) {
      run->skipped.emplace_back(task->id, status.message());
    } else {
      return status;
    }
  }
  if (there->tasks.empty()) return {Code::not_found, "of the tasks that were named none has its files: " + run->skipped.front().second};
  return {};
}

}  // namespace

Result<ModelRun> run_tasks(std::shared_ptr<const model::Model> model, std::string_view name, Team& team,
                           const Selection& selection, const EvaluateOptions& options, const ProgressFn& progress) {
  ModelRun run;
  run.name = name;
  Selection there;
  NBL_TRY(look_for_files(selection, options, &there, &run));
  run.groups = there.groups;
  for (std::size_t t = 0; t < there.tasks.size(); ++t) {
    const ProgressFn inner = [&](const ProgressEvent& event) {
      return !progress || progress({"evaluate",
                                    fmt::format("{}, {} ({} of {}): {}", name, there.tasks[t]->id, t + 1,
                                                there.tasks.size(), event.detail),
                                    event.done, event.total});
    };
    auto one = run_task(model, team, *there.tasks[t], options, inner);
    if (!one.ok()) return one.status();
    run.tasks.push_back(std::move(one).value());
  }
  return run;
}

Task choice_task(std::string_view name, std::span<const ChoiceDoc> documents) {
  Task t;
  t.id = name;
  t.version = "1";
  t.summary = "multiple choice, from documents at hand";
  auto records = std::make_shared<std::vector<Json>>();
  for (const ChoiceDoc& d : documents) {
    Json choices = Json::array();
    for (const std::string& choice : d.choices) choices.push_back(choice);
    records->push_back(Json::object({{"query", d.context}, {"choices", std::move(choices)}, {"gold", d.answer}}));
  }
  t.given = std::move(records);
  t.fewshot_from_test = true;
  t.fewshot_excludes = true;
  t.text = [](Fields& f) { return f.text("query"); };
  t.choices = [](Fields& f) { return f.texts("choices"); };
  t.gold = [](Fields& f) { return std::vector<int64_t>{f.integer("gold")}; };
  t.metrics = {{"acc", &kMean, true}, {"acc_norm", &kMean, true}};
  return t;
}

}  // namespace nbl::eval
