// Every two models on the same requests.
#include <algorithm>
#include <cmath>
#include <map>

#include "eval/evaluate.h"
#include "eval/paired.h"
#include "eval/statistics.h"

namespace nbl::eval {
namespace {

constexpr int64_t kSamples = 10000;
constexpr double kConfidence = 0.95, kAlpha = 0.05, kPower = 0.8;

struct Pair {
  const ModelRun *a = nullptr, *b = nullptr;
  const TaskRun* task = nullptr;
  const MetricRun *x = nullptr, *y = nullptr;
  double p = 1, holm = 1;
};

/// Whether the metric is a mean over documents that both models answered.
bool comparable(const MetricRun& x, const MetricRun& y) {
  if (x.aggregation != &kMean || x.values.size() != y.values.size() || x.values.empty()) return false;
  for (std::size_t d = 0; d < x.values.size(); ++d)
    if (x.values[d].numbers.size() != 1 || y.values[d].numbers.size() != 1) return false;
  return true;
}

Json pair_json(const Pair& pair, double margin) {
  const MetricRun &x = *pair.x, &y = *pair.y;
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
  const double deviation = error * std::sqrt(static_cast<double>(differences.size()));
  Json j = Json::object();
  j.set("task", pair.task->task->id);
  j.set("metric", x.name + "," + x.filter);
  j.set("a", pair.a->name);
  j.set("b", pair.b->name);
  j.set("n", static_cast<int64_t>(differences.size()));
  j.set("value_a", x.value);
  j.set("value_b", y.value);
  j.set("delta", delta);
  j.set("stderr", error);
  Json interval = Json::array();
  interval.push_back(ci.low);
  interval.push_back(ci.high);
  j.set("ci95", std::move(interval));
  j.set("interval", "paired bootstrap, BCa, documents drawn with replacement");
  // Without ones and zeros there are no discordant pairs to count: the sign test is the same test on gains and losses.
  j.set("test", binary ? "McNemar, exact" : "sign test, exact");
  j.set("mcnemar_p", pair.p);
  j.set("holm_p", pair.holm);
  j.set("flips", won + lost);
  j.set("flips_to_right", x.higher_is_better ? won : lost);
  j.set("flips_to_wrong", x.higher_is_better ? lost : won);
  // Not worse than by the margin, as far as one is 97.5 % sure; p is that of a difference beyond the margin.
  j.set("margin", margin);
  j.set("non_inferior", x.higher_is_better ? ci.low > -margin : ci.high < margin);
  const double room = (x.higher_is_better ? delta : -delta) + margin;
  j.set("non_inferiority_p", error > 0 ? 1.0 - normal_cdf(room / error) : room > 0 ? 0.0 : 1.0);
  j.set("requests_for_delta", delta == 0 ? Json() : Json(requests_needed(delta, deviation, kAlpha, kPower)));
  j.set("requests_for_margin", margin == 0 ? Json() : Json(requests_needed(margin, deviation, kAlpha, kPower)));
  return j;
}

}  // namespace

Json paired_json(std::span<const ModelRun> runs, double margin) {
  std::vector<Pair> pairs;
  std::map<std::string, std::vector<std::size_t>> families;  // one metric of two models, over the tasks
  for (std::size_t a = 0; a < runs.size(); ++a) {
    for (std::size_t b = a + 1; b < runs.size(); ++b) {
      for (std::size_t t = 0; t < std::min(runs[a].tasks.size(), runs[b].tasks.size()); ++t) {
        const TaskRun &one = runs[a].tasks[t], &two = runs[b].tasks[t];
        for (std::size_t m = 0; m < std::min(one.metrics.size(), two.metrics.size()); ++m) {
          const MetricRun &x = one.metrics[m], &y = two.metrics[m];
          if (!comparable(x, y)) continue;
          int64_t won = 0, lost = 0;
          for (std::size_t d = 0; d < x.values.size(); ++d) {
            won += y.values[d].numbers[0] > x.values[d].numbers[0];
            lost += y.values[d].numbers[0] < x.values[d].numbers[0];
          }
          families[std::to_string(a) + " " + std::to_string(b) + " " + x.name + "," + x.filter].push_back(pairs.size());
          pairs.push_back({&runs[a], &runs[b], &one, &x, &y, mcnemar_exact(lost, won), 1});
        }
      }
    }
  }
  for (const auto& [family, members] : families) {
    std::vector<double> p;
    for (const std::size_t i : members) p.push_back(pairs[i].p);
    const std::vector<double> adjusted = holm(p);
    for (std::size_t i = 0; i < members.size(); ++i) pairs[members[i]].holm = adjusted[i];
  }
  Json result = Json::array();
  for (const Pair& pair : pairs) result.push_back(pair_json(pair, margin));
  return result;
}

}  // namespace nbl::eval
