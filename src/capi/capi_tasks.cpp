// Evaluations: benchmark tasks.
#include <fmt/format.h>

#include "capi/catalog.h"
#include "capi/evaluation_tasks.h"
#include "eval/evaluate.h"

namespace nbl::capi {
namespace {

using quant::Options;

eval::EvaluateOptions options_of(const nbl_evaluation& e, const Options& settings) {
  eval::EvaluateOptions o;
  o.data = settings.text("data");
  o.limit = settings.integer("limit");
  o.num_fewshot = settings.integer("num_fewshot");
  o.fewshot_seed = static_cast<uint64_t>(settings.integer("fewshot_seed"));
  o.bootstrap_iterations = settings.integer("bootstrap");
  o.samples = settings.boolean("samples") || settings.boolean("sample_tokens");
  o.sample_tokens = settings.boolean("sample_tokens");
  o.run_code = settings.boolean("run_unsafe_code");
  o.skip_missing = settings.boolean("skip_missing");
  o.batch = settings.integer("batch");
  o.seed = static_cast<uint64_t>(settings.integer("seed"));
  o.margin = settings.real("margin");
  o.max_tokens = settings.integer("max_gen_toks");
  o.own_tasks = e.tasks;
  return o;
}

/// The tasks by name; without names, all of the caller's own.
Result<eval::Selection> selection_of(const std::string& names, const eval::EvaluateOptions& options) {
  std::string all;
  for (const eval::Task& task : options.own_tasks) all += (all.empty() ? "" : ",") + task.id;
  if (names.empty() && all.empty()) {
    return Status(Code::invalid_argument,
                  "no task was named: nbl_evaluation_set \"tasks\", or nbl_evaluation_add_task for one of your own");
  }
  return eval::select_tasks(names.empty() ? all : all.empty() ? names : all + "," + names, options);
}

}  // namespace

Result<Options> settings_of(const nbl_evaluation& e) {
  return Options::create(evaluation_settings(), e.settings, "evaluation");
}

Status need_models(const nbl_evaluation& e, std::size_t count, const char* what) {
  if (e.models.size() >= count) return {};
  return {Code::invalid_argument,
          fmt::format("{} needs at least {} model{}; {} {} been added", what, count, count == 1 ? "" : "s",
                      e.models.size(), e.models.size() == 1 ? "has" : "have")};
}

Status run_evaluation_tasks(nbl_evaluation* e, Json* out) {
  NBL_TRY(need_models(*e, 1, "an evaluation of tasks"));
  NBL_ASSIGN(const Options settings, settings_of(*e));
  const eval::EvaluateOptions options = options_of(*e, settings);
  NBL_ASSIGN(const eval::Selection selection, selection_of(settings.text("tasks"), options));
  Monitor monitor(e->runtime, e->progress, e->progress_user);
  std::vector<eval::ModelRun> runs;
  for (std::size_t m = 0; m < e->models.size(); ++m) {
    auto run = eval::run_tasks(e->models[m], e->names[m], e->runtime->team, selection, options, monitor.fn());
    NBL_TRY(monitor.outcome(run.status()));
    runs.push_back(std::move(run).value());
  }

  Json j = result_header(*e->runtime);
  j.set("model", e->names[0]);
  Json models = Json::array();
  for (const eval::ModelRun& run : runs) {
    const Json results = eval::results_json(run);
    if (&run == &runs.front()) {
      for (const auto& [key, value] : results.members()) {
        if (key != "samples" || runs.size() == 1) j.set(key, value);
      }
    }
    Json row = Json::object({{"name", run.name}});
    for (const auto& [key, value] : results.members()) {
      if (key == "results" || key == "groups" || key == "n-samples" || (key == "samples" && runs.size() > 1))
        row.set(key, value);
    }
    models.push_back(std::move(row));
  }
  j.set("models", std::move(models));
  j.set("paired", eval::paired_json(runs, options.margin));
  Json skipped = Json::array();
  for (const auto& [task, why] : runs.front().skipped)
    skipped.push_back(Json::object({{"task", task}, {"reason", why}}));
  j.set("skipped", std::move(skipped));
  j.set("config", Json::object({{"limit", options.limit},
                                {"num_fewshot", options.num_fewshot},
                                {"fewshot_seed", static_cast<int64_t>(options.fewshot_seed)},
                                {"bootstrap_iters", options.bootstrap_iterations},
                                {"batch_size", options.batch},
                                {"seed", static_cast<int64_t>(options.seed)},
                                {"compute", compute_name(e->models[0]->compute().compute)},
                                {"isa", isa_name(e->runtime->isa)}}));
  *out = std::move(j);
  return {};
}

}  // namespace nbl::capi
