// What a run's results look like: lm-evaluation-harness's layout, and the paired comparison of several models.
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "eval/evaluate.h"
#include "eval/paired.h"
#include "eval/statistics.h"

namespace nbl::eval {
namespace {

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
    j.set(metric, total / weights);
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
    row.set("alias", task.alias.empty() ? task.id : task.alias);
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
                Json::object({{"original", t.original}, {"effective", t.effective}, {"truncated", t.truncated}}));
    if (!t.samples.empty()) {
      Json list = Json::array();
      for (const Json& sample : t.samples) list.push_back(sample);
      records.set(task.id, std::move(list));
    }
  }
  for (const TaskGroup* group : task_groups()) {
    std::optional<Json> row = group_json(*group, run);
    if (!row) continue;
    Json members = Json::array();
    for (const std::string& member : group->members) members.push_back(member);
    subtasks.set(group->id, std::move(members));
    versions.set(group->id, version_json(group->version));
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

Json paired_json(std::span<const ModelRun> runs) {
  constexpr int64_t kSamples = 10000;
  constexpr double kConfidence = 0.95;
  Json pairs = Json::array();
  std::vector<double> p_values;
  for (std::size_t b = 1; b < runs.size(); ++b) {
    for (std::size_t t = 0; t < runs[0].tasks.size() && t < runs[b].tasks.size(); ++t) {
      const TaskRun &one = runs[0].tasks[t], &two = runs[b].tasks[t];
      for (std::size_t m = 0; m < one.metrics.size(); ++m) {
        const MetricRun &x = one.metrics[m], &y = two.metrics[m];
        if (x.aggregation != &kMean || x.values.size() != y.values.size() || x.values.empty()) continue;
        std::vector<double> differences;
        int64_t won = 0, lost = 0;
        bool binary = true;
        for (std::size_t d = 0; d < x.values.size(); ++d) {
          const double u = x.values[d].numbers[0], v = y.values[d].numbers[0];
          differences.push_back(v - u);
          binary = binary && (u == 0 || u == 1) && (v == 0 || v == 1);
          won += v > u;
          lost += v < u;
        }
        const double delta = mean(differences), error = mean_stderr(differences);
        const Interval ci = bca_interval(differences, kConfidence, kSamples, 1);
        // Without ones and zeros there are no discordant pairs to count: the sign test is the same test on gains and
        // losses.
        const double p = mcnemar_exact(lost, won);
        Json pair = Json::object();
        pair.set("task", one.task->id);
        pair.set("metric", x.name + "," + x.filter);
        pair.set("a", runs[0].name);
        pair.set("b", runs[b].name);
        pair.set("n", static_cast<int64_t>(differences.size()));
        pair.set("delta", delta);
        pair.set("stderr", error);
        Json interval = Json::array();
        interval.push_back(ci.low);
        interval.push_back(ci.high);
        pair.set("ci95", std::move(interval));
        pair.set("test", binary ? "McNemar, exact" : "sign test, exact");
        pair.set("mcnemar_p", p);
        pair.set("flips", won + lost);
        pair.set("flips_to_right", won);
        pair.set("flips_to_wrong", lost);
        const double deviation = error * std::sqrt(static_cast<double>(differences.size()));
        pair.set("requests_for_delta", delta == 0 ? Json() : Json(requests_needed(delta, deviation, 0.05, 0.8)));
        p_values.push_back(p);
        pairs.push_back(std::move(pair));
      }
    }
  }
  const std::vector<double> adjusted = holm(p_values);
  Json result = Json::array();
  std::size_t i = 0;
  for (const Json& pair : pairs.elements()) {
    Json row = pair;
    row.set("holm_p", adjusted[i++]);
    result.push_back(std::move(row));
  }
  return result;
}

}  // namespace nbl::eval
