// What a run's results look like: lm-evaluation-harness's layout.
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "eval/evaluate.h"

namespace nbl::eval {

const char* output_name(Output output) {
  switch (output) {
    case Output::multiple_choice:
      return "multiple_choice";
    case Output::loglikelihood:
      return "loglikelihood";
    case Output::rolling:
      return "loglikelihood_rolling";
    case Output::generate:
      break;
  }
  return "generate_until";
}

namespace {

Json number_or_text(double value) { return std::isnan(value) ? Json("N/A") : Json(value); }

Json config_json(const TaskRun& run) {
  const Task& task = *run.task;
  Json j = Json::object();
  j.set("task", task.id);
  j.set("output_type", output_name(task.output));
  j.set("description", task.description);
  j.set("target_delimiter", task.target_delimiter);
  j.set("fewshot_delimiter", task.fewshot_delimiter);
  j.set("num_fewshot", run.num_fewshot);
  j.set("data_file", run.data_file);
  j.set("data_sha256", run.data_sha256);
  j.set("seconds", run.seconds);
  Json metrics = Json::array();
  for (const Metric& m : task.metrics) {
    metrics.push_back(Json::object({{"metric", m.name},
                                    {"aggregation", std::string(m.aggregation->name)},
                                    {"higher_is_better", m.higher_is_better}}));
  }
  j.set("metric_list", std::move(metrics));
  if (task.output == Output::generate) {
    Json until = Json::array();
    for (const std::string& stop : task.generation.until) until.push_back(stop);
    j.set("generation_kwargs", Json::object({{"until", std::move(until)},
                                             {"max_gen_toks", task.generation.max_tokens},
                                             {"num_beams", task.generation.beams}}));
  }
  j.set("metadata", Json::object({{"version", task.version}}));
  return j;
}

struct Combined {
  std::vector<double> values, errors;
  std::vector<int64_t> sizes;
};

/// The runs of all tasks below a group that have the metric.
void collect(const TaskGroup& group, const ModelRun& run, const std::string& metric, Combined& out) {
  for (const std::string& member : group.members) {
    if (const TaskGroup* inner = find_task_group(member)) {
      collect(*inner, run, metric, out);
      continue;
    }
    for (const TaskRun& t : run.tasks) {
      if (t.task->id != member) continue;
      for (const MetricRun& m : t.metrics) {
        if (m.name + "," + m.filter != metric) continue;
        out.values.push_back(m.value);
        out.errors.push_back(m.error);
        out.sizes.push_back(t.effective);
      }
    }
  }
}

/// Which metrics of the tasks below a group are better when higher: null where they do not agree.
void collect_directions(const TaskGroup& group, const ModelRun& run, Json& out) {
  for (const std::string& member : group.members) {
    if (const TaskGroup* inner = find_task_group(member)) {
      collect_directions(*inner, run, out);
      continue;
    }
    for (const TaskRun& t : run.tasks) {
      if (t.task->id != member) continue;
      for (const MetricRun& m : t.metrics) {
        const Json* known = out.find(m.name);
        const Json direction(m.higher_is_better);
        out.set(m.name, known == nullptr || *known == direction ? direction : Json());
      }
    }
  }
}

std::string with_stderr(const std::string& metric) {
  const std::size_t comma = metric.find(',');
  return metric.substr(0, comma) + "_stderr" + metric.substr(comma);
}

Json version_json(const std::string& version) {
  double value = 0;
  const auto [end, error] = std::from_chars(version.data(), version.data() + version.size(), value);
  return error == std::errc() && end == version.data() + version.size() ? Json(value) : Json(version);
}

/// The harness's group row, or none when no member was run.
std::optional<Json> group_json(const TaskGroup& group, const ModelRun& run) {
  Json j = Json::object();
  j.set("alias", group.alias.empty() ? group.id : group.alias);
  bool any = false;
  for (const std::string& metric : group.metrics) {
    Combined all;
    collect(group, run, metric, all);
    if (all.values.empty()) continue;
    any = true;
    double total = 0, weights = 0;
    bool known = true;
    for (std::size_t i = 0; i < all.values.size(); ++i) {
      const double weight = group.weight_by_size ? static_cast<double>(all.sizes[i]) : 1.0;
      total += weight * all.values[i];
      weights += weight;
      known = known && !std::isnan(all.errors[i]);
    }
    j.set(metric, number_or_text(total / weights));
    j.set(with_stderr(metric), known ? Json(pooled_stderr(all.errors, all.sizes, group.weight_by_size)) : Json("N/A"));
  }
  return any ? std::optional<Json>(std::move(j)) : std::nullopt;
}

}  // namespace

Json results_json(const ModelRun& run) {
  Json results = Json::object(), groups = Json::object(), subtasks = Json::object(), configs = Json::object();
  Json versions = Json::object(), shots = Json::object(), better = Json::object(), samples = Json::object();
  Json records = Json::object();
  for (const TaskRun& t : run.tasks) {
    const Task& task = *t.task;
    Json row = Json::object();
    row.set("name", task.id);
    row.set("alias", task.alias.empty() ? task.id : task.alias);
    row.set("sample_len", t.effective);
    Json directions = Json::object();
    for (const MetricRun& m : t.metrics) {
      const std::string key = m.name + "," + m.filter;
      row.set(key, number_or_text(m.value));
      row.set(with_stderr(key), number_or_text(m.error));
      directions.set(m.name, m.higher_is_better);
    }
    results.set(task.id, std::move(row));
    configs.set(task.id, config_json(t));
    versions.set(task.id, version_json(task.version));
    shots.set(task.id, t.num_fewshot);
    better.set(task.id, std::move(directions));
    samples.set(task.id,
                Json::object({{"original", t.original}, {"effective", t.effective}, {"truncated", t.truncated}, {"cached", t.cached}}));
    if (!t.samples.empty()) {
      Json list = Json::array();
      for (const Json& sample : t.samples) list.push_back(sample);
      records.set(task.id, std::move(list));
    }
  }
  for (const TaskGroup* group : run.groups) {
    std::optional<Json> row = group_json(*group, run);
    if (!row) continue;
    Json members = Json::array();
    for (const std::string& member : group->members) members.push_back(member);
    subtasks.set(group->id, std::move(members));
    versions.set(group->id, version_json(group->version));
    Json directions = Json::object();
    collect_directions(*group, run, directions);
    better.set(group->id, std::move(directions));
    results.set(group->id, *row);
    groups.set(group->id, std::move(*row));
  }
  Json j = Json::object();
  j.set("results", std::move(results));
  j.set("groups", std::move(groups));
  j.set("group_subtasks", std::move(subtasks));
  j.set("configs", std::move(configs));
  j.set("versions", std::move(versions));
  j.set("n-shot", std::move(shots));
  j.set("higher_is_better", std::move(better));
  j.set("n-samples", std::move(samples));
  if (records.size() > 0) j.set("samples", std::move(records));
  return j;
}

}  // namespace nbl::eval
