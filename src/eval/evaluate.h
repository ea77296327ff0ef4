// Running tasks: models on the same documents, request by request.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/status.h"
#include "eval/eval.h"
#include "eval/prompt.h"
#include "eval/task.h"
#include "model/model.h"

namespace nbl::eval {

class AnswerCache;

struct EvaluateOptions {
  std::filesystem::path data;      ///< folder that the tasks' files lie in
  int64_t limit = 0;               ///< the first so many documents of each task; 0: all
  int64_t num_fewshot = -1;        ///< -1: each task's own
  uint64_t fewshot_seed = 1234;
  int64_t bootstrap_iterations = 100000;
  bool samples = false;            ///< keep every request and answer
  bool sample_tokens = false;      ///< and the token ids of each request
  bool run_code = false;           ///< tasks may run, in a sandbox, programs that the model wrote
  bool skip_missing = false;       ///< leave out tasks whose files are not there, and say so
  int64_t batch = 8;               ///< sequences generated side by side
  int64_t max_tokens = 0;          ///< of generated answers at most; 0: each task's own
  uint64_t seed = 0;               ///< of sampled generation
  /// Beams end at the model's end-of-sequence tokens. Not so, as in transformers and hence in the harness, where the model
  /// comes with a generation_config.json that names none: then only a best beam that spells the token ends the search.
  bool beams_know_end = true;
  AnswerCache* cache = nullptr;    ///< borrowed; null: every answer is computed
  std::string identity;            ///< of model and arithmetic: a part of the cache's keys
  std::string verdicts;            ///< a judge's, as JSON lines {"task", "doc_id", "score", "model"?}: the metric judge_score
  std::string model_name;          ///< verdicts that name another model are not this one's
  double margin = 0.01;            ///< of non-inferiority: how much worse is still as good
  PromptOptions prompt;            ///< chat template, system instruction (num_fewshot is set by the run)
  std::vector<Task> own_tasks;     ///< besides the built-in ones
};

/// One metric of one task under one filter: a value a document, and their aggregate.
struct MetricRun {
  std::string name, filter;
  const Aggregation* aggregation = nullptr;
  bool higher_is_better = true;
  std::vector<MetricValue> values;
  double value = 0, error = 0;     ///< error NaN: none
};

struct TaskRun {
  const Task* task = nullptr;
  int64_t num_fewshot = 0;
  int64_t original = 0, effective = 0, truncated = 0, cached = 0;
  std::string data_file, data_sha256;
  double seconds = 0;
  std::vector<MetricRun> metrics;
  std::vector<Json> samples;
};

struct ModelRun {
  std::string name;
  std::vector<TaskRun> tasks;
  std::vector<const TaskGroup*> groups;               ///< asked for: their aggregates belong to the results
  std::vector<std::pair<std::string, std::string>> skipped;  ///< task, why
};

/// Documents of a task, processed; `original` counts those in the files.
struct Documents {
  std::vector<Json> documents;
  int64_t original = 0;
  std::string file, sha256;
  std::vector<LoadedPieces> pieces;  ///< of the task's, those whose files are there
};
/// not_found names the files looked for and the command that fetches them.
Result<Documents> load_documents(const Task& task, const std::filesystem::path& data, bool fewshot);

/// Whether load_documents() would find its files: ok, or its not_found.
Status find_files(const Task& task, const std::filesystem::path& data, bool fewshot);

struct Selection {
  std::vector<const Task*> tasks;
  std::vector<const TaskGroup*> groups;  ///< named, and those inside them
};
/// Names of tasks, groups and tags, "*" as a wild card, commas between; expands to tasks in order, each once.
Result<Selection> select_tasks(std::string_view names, const EvaluateOptions& options);

Result<ModelRun> run_tasks(std::shared_ptr<const model::Model> model, std::string_view name, Team& team,
                           const Selection& selection, const EvaluateOptions& options, const ProgressFn& progress);

/// lm-evaluation-harness's results layout: results, groups, versions, n-shot, n-samples, higher_is_better, configs.
Json results_json(const ModelRun& run);
/// Every pair (first, other) on every shared metric: see paired.h. `margin`: of non-inferiority.
Json paired_json(std::span<const ModelRun> runs, double margin);
/// A task of multiple choice made of documents at hand.
Task choice_task(std::string_view name, std::span<const ChoiceDoc> documents);

}  // namespace nbl::eval
