// Metrics: how the judgements of single documents become one number with its standard error.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nbl::eval {

/// One document's part of a metric: numbers, or texts that only mean something together.
struct MetricValue {
  std::vector<double> numbers;
  std::vector<std::string> references;
  std::string prediction;
};

/// Standard errors as lm-evaluation-harness computes them: of a mean from the sample, of others by 100,000 bootstrap
/// samples with its generator's seeds, of the rest none.
enum class StderrKind : uint8_t { none, mean, bootstrap };

struct Aggregation {
  std::string_view name;
  double (*combine)(std::span<const MetricValue> values);
  StderrKind error = StderrKind::none;
  /// For bootstrap: the same from the first numbers of the chosen documents, without building lists of values.
  double (*combine_numbers)(std::span<const double> numbers) = nullptr;
};

extern const Aggregation kMean;
extern const Aggregation kPerplexity;          ///< exp(-mean)
extern const Aggregation kWeightedPerplexity;  ///< exp(-sum a / sum b)
extern const Aggregation kBitsPerByte;
extern const Aggregation kF1;                  ///< of choices 0 and 1, 1 being the positive one; values are coded_pair
extern const Aggregation kMatthews;            ///< Matthews' correlation of any number of choices; values are coded_pair
extern const Aggregation kBleu;                ///< sacreBLEU corpus BLEU, 13a tokens
extern const Aggregation kPieceBleu;           ///< the same of texts whose words are separated by spaces already
extern const Aggregation kChrf;                ///< chrF2
extern const Aggregation kChrfPlusPlus;        ///< chrF2++

/// The right choice and the chosen one as one number, so that bootstrap samples stay lists of numbers.
double coded_pair(int64_t gold, int64_t chosen);

/// NaN when there is none. `iterations`: 0 for no bootstrap.
double aggregate_stderr(const Aggregation& aggregation, std::span<const MetricValue> values, int64_t iterations);

/// Of a group: sqrt(sum (n - 1) n se^2 / (sum n - groups) / sum n), weighted; sqrt(sum se^2) / groups, unweighted.
double pooled_stderr(std::span<const double> errors, std::span<const int64_t> sizes, bool weighted);

}  // namespace nbl::eval
