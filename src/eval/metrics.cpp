#include "eval/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "eval/python_random.h"
#include "eval/statistics.h"

namespace nbl::eval {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int64_t kChunk = 1000;  ///< bootstrap samples drawn from one seed

double plain_mean(std::span<const double> x) { return x.empty() ? kNaN : sum(x) / static_cast<double>(x.size()); }

double perplexity_of(std::span<const double> x) { return std::exp(-plain_mean(x)); }

std::vector<double> firsts(std::span<const MetricValue> values) {
  std::vector<double> result;
  result.reserve(values.size());
  for (const MetricValue& v : values) result.push_back(v.numbers.empty() ? kNaN : v.numbers[0]);
  return result;
}

template <double (*F)(std::span<const double>)>
double over_firsts(std::span<const MetricValue> values) {
  return F(firsts(values));
}

/// sum a / sum b of pairs (a, b).
double weighted(std::span<const MetricValue> values) {
  double a = 0, b = 0;
  for (const MetricValue& v : values) {
    if (v.numbers.size() < 2) return kNaN;
    a += v.numbers[0];
    b += v.numbers[1];
  }
  return b != 0 ? a / b : kNaN;
}

double weighted_perplexity(std::span<const MetricValue> values) { return std::exp(-weighted(values)); }
double bits_per_byte(std::span<const MetricValue> values) { return -weighted(values) / std::log(2.0); }

constexpr int64_t kMostChoices = 1 << 20;

struct Pair {
  int64_t gold, chosen;
};

Pair pair_of(double coded) {
  const auto number = static_cast<int64_t>(coded);
  return {number / kMostChoices, number % kMostChoices};
}

double f1_of(std::span<const double> x) {
  double both = 0, either = 0;  // true positives; positives of either side, counted on each
  for (const double coded : x) {
    const auto [gold, chosen] = pair_of(coded);
    if (gold == 1 && chosen == 1) both += 1;
    either += static_cast<double>((gold == 1) + (chosen == 1));
  }
  return either > 0 ? 2 * both / either : 0;
}

/// Covariances of the indicator vectors (Gorodkin 2004), which for two classes is Matthews' own coefficient.
double matthews_of(std::span<const double> x) {
  std::vector<double> golds, chosens;
  double right = 0;
  for (const double coded : x) {
    const auto [gold, chosen] = pair_of(coded);
    const auto most = static_cast<std::size_t>(std::max(gold, chosen)) + 1;
    if (most > golds.size()) {
      golds.resize(most);
      chosens.resize(most);
    }
    golds[static_cast<std::size_t>(gold)] += 1;
    chosens[static_cast<std::size_t>(chosen)] += 1;
    right += gold == chosen ? 1 : 0;
  }
  const double n = static_cast<double>(x.size());
  const double square = n * n;
  double cross = right * n, gold_square = square, chosen_square = square;
  for (std::size_t k = 0; k < golds.size(); ++k) {
    cross -= golds[k] * chosens[k];
    gold_square -= golds[k] * golds[k];
    chosen_square -= chosens[k] * chosens[k];
  }
  const double scale = std::sqrt(gold_square * chosen_square);
  return scale > 0 ? cross / scale : 0;
}

double sample_deviation(std::span<const double> x) {
  return mean_stderr(x) * std::sqrt(static_cast<double>(x.size()));
}

}  // namespace

const Aggregation kMean = {"mean", over_firsts<plain_mean>, StderrKind::mean, plain_mean};
const Aggregation kF1 = {"f1", over_firsts<f1_of>, StderrKind::bootstrap, f1_of};
const Aggregation kMatthews = {"matthews_corrcoef", over_firsts<matthews_of>, StderrKind::bootstrap, matthews_of};
const Aggregation kPerplexity = {"perplexity", over_firsts<perplexity_of>, StderrKind::bootstrap, perplexity_of};
const Aggregation kWeightedPerplexity = {"weighted_perplexity", weighted_perplexity, StderrKind::none, nullptr};
const Aggregation kBitsPerByte = {"bits_per_byte", bits_per_byte, StderrKind::none, nullptr};

double coded_pair(int64_t gold, int64_t chosen) { return static_cast<double>(gold * kMostChoices + chosen); }

double aggregate_stderr(const Aggregation& aggregation, std::span<const MetricValue> values, int64_t iterations) {
  if (values.size() < 2 || aggregation.error == StderrKind::none) return kNaN;
  if (aggregation.error == StderrKind::mean) return mean_stderr(firsts(values));
  if (iterations < 2) return kNaN;
  const int64_t chunk = std::min(kChunk, iterations);
  std::vector<double> estimates;
  std::vector<std::size_t> chosen;
  const std::vector<double> numbers = aggregation.combine_numbers != nullptr ? firsts(values) : std::vector<double>{};
  std::vector<double> drawn(numbers.size());
  std::vector<MetricValue> drawn_values;
  for (int64_t seed = 0; seed < iterations / chunk; ++seed) {
    PythonRandom random(static_cast<uint64_t>(seed));
    for (int64_t i = 0; i < chunk; ++i) {
      random.choices(values.size(), values.size(), chosen);
      if (aggregation.combine_numbers != nullptr) {
        for (std::size_t d = 0; d < chosen.size(); ++d) drawn[d] = numbers[chosen[d]];
        estimates.push_back(aggregation.combine_numbers(drawn));
      } else {
        drawn_values.clear();
        for (std::size_t d : chosen) drawn_values.push_back(values[d]);
        estimates.push_back(aggregation.combine(drawn_values));
      }
    }
  }
  return sample_deviation(estimates);
}

double pooled_stderr(std::span<const double> errors, std::span<const int64_t> sizes, bool weighted_by_size) {
  double total = 0, documents = 0;
  if (!weighted_by_size) {
    for (double e : errors) total += e * e;
    return std::sqrt(total) / static_cast<double>(errors.size());
  }
  for (std::size_t i = 0; i < errors.size(); ++i) {
    const double n = static_cast<double>(sizes[i]);
    total += (n - 1) * errors[i] * errors[i] * n;
    documents += n;
  }
  return std::sqrt(total / (documents - static_cast<double>(errors.size())) / documents);
}

}  // namespace nbl::eval
