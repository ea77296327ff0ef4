#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "eval/metrics.h"
#include "eval/paired.h"
#include "eval/python_random.h"
#include "eval/statistics.h"

namespace nbl::eval {
namespace {

// Expected values are CPython's: random.Random(seed).random(), .sample(range(n), k), .choices(range(n), k=5), shuffle.
TEST(PythonRandom, DrawsWhatPythonDraws) {
  PythonRandom a(1234);
  EXPECT_DOUBLE_EQ(a.random(), 0.9664535356921388);
  EXPECT_DOUBLE_EQ(a.random(), 0.4407325991753527);
  EXPECT_EQ(PythonRandom(1234).sample(100, 5), (std::vector<std::size_t>{99, 56, 14, 0, 11}));
  EXPECT_EQ(PythonRandom(0).sample(10, 4), (std::vector<std::size_t>{6, 9, 0, 2}));
  EXPECT_EQ(PythonRandom(5).sample(100000, 6), (std::vector<std::size_t>{81644, 33481, 97227, 46993, 90498, 96979}));
  std::vector<std::size_t> c;
  PythonRandom(42).choices(1000, 5, c);
  EXPECT_EQ(c, (std::vector<std::size_t>{639, 25, 275, 223, 736}));
  EXPECT_EQ(PythonRandom(3).shuffled(8), (std::vector<std::size_t>{0, 5, 7, 2, 1, 6, 4, 3}));
  PythonRandom wide(uint64_t{1} << 40);
  EXPECT_DOUBLE_EQ(wide.random(), 0.1036394562812375);
}

MetricValue number(double x) { return {{x}, {}, {}}; }

TEST(Aggregation, MeansPerplexitiesAndTheirErrors) {
  const std::vector<MetricValue> v = {number(1), number(0), number(1), number(1)};
  EXPECT_DOUBLE_EQ(kMean.combine(v), 0.75);
  EXPECT_DOUBLE_EQ(aggregate_stderr(kMean, v, 0), 0.25);
  EXPECT_TRUE(std::isnan(aggregate_stderr(kMean, {v.data(), 1}, 0)));
  const std::vector<MetricValue> lls = {number(-1), number(-2), number(-4)};
  EXPECT_DOUBLE_EQ(kPerplexity.combine(lls), std::exp(7.0 / 3.0));
  // lm_eval.api.metrics.bootstrap_stderr(perplexity, [-1, -2, -4], 2000)
  EXPECT_NEAR(aggregate_stderr(kPerplexity, lls, 2000), 10.812725662709068, 1e-9);
  const std::vector<MetricValue> pairs = {{{-10, 4}, {}, {}}, {{-20, 6}, {}, {}}};
  EXPECT_DOUBLE_EQ(kWeightedPerplexity.combine(pairs), std::exp(3.0));
  EXPECT_DOUBLE_EQ(kBitsPerByte.combine(pairs), 3.0 / std::log(2.0));
  const std::vector<double> errors = {0.1, 0.2};
  const std::vector<int64_t> sizes = {10, 30};
  EXPECT_DOUBLE_EQ(pooled_stderr(errors, sizes, true), std::sqrt((9 * 0.01 * 10 + 29 * 0.04 * 30) / 38 / 40));
  EXPECT_DOUBLE_EQ(pooled_stderr(errors, sizes, false), std::sqrt(0.05) / 2);
}

// scipy.stats.binomtest(k, n, 0.5).pvalue and statsmodels' Holm.
TEST(Paired, ExactTestsAndCorrections) {
  EXPECT_DOUBLE_EQ(mcnemar_exact(0, 0), 1.0);
  EXPECT_NEAR(mcnemar_exact(3, 12), 0.03515625, 1e-12);
  EXPECT_NEAR(mcnemar_exact(12, 3), 0.03515625, 1e-12);
  EXPECT_NEAR(mcnemar_exact(5, 5), 1.0, 1e-12);
  EXPECT_NEAR(mcnemar_exact(40, 70), 0.005447429511444482, 1e-12);
  const std::vector<double> p = {0.01, 0.04, 0.03, 0.5};
  const std::vector<double> adjusted = holm(p);
  EXPECT_DOUBLE_EQ(adjusted[0], 0.04);
  EXPECT_DOUBLE_EQ(adjusted[1], 0.09);
  EXPECT_DOUBLE_EQ(adjusted[2], 0.09);
  EXPECT_DOUBLE_EQ(adjusted[3], 0.5);
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-12);
  EXPECT_EQ(requests_needed(0.02, 0.5, 0.05, 0.8), 4906);
}

// A simulated pair of models with a known gap and correlation: the interval holds the truth as often as it promises.
TEST(Paired, IntervalsCoverThePlantedDifference) {
  constexpr int kRuns = 2000, kDocuments = 200;
  constexpr double kOnlyA = 0.15, kOnlyB = 0.09;  // a gap of -0.06
  int covered = 0;
  Random random(20240610);
  for (int run = 0; run < kRuns; ++run) {
    std::vector<double> differences;
    for (int d = 0; d < kDocuments; ++d) {
      const double u = random.uniform_double();
      differences.push_back(u < kOnlyA ? -1.0 : u < kOnlyA + kOnlyB ? 1.0 : 0.0);
    }
    const Interval ci = bca_interval(differences, 0.95, 1000, static_cast<uint64_t>(run));
    covered += ci.low <= kOnlyB - kOnlyA && kOnlyB - kOnlyA <= ci.high;
  }
  EXPECT_GE(covered, kRuns * 0.93);
  EXPECT_LE(covered, kRuns * 0.97);
}

TEST(Paired, NoDifferenceHasNoWidth) {
  const Interval ci = bca_interval(std::vector<double>(50, 0.0), 0.95, 1000, 1);
  EXPECT_EQ(ci.low, 0.0);
  EXPECT_EQ(ci.high, 0.0);
}

}  // namespace
}  // namespace nbl::eval
