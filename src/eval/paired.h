// Two models on the same requests: differences, their intervals and what they mean.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"

namespace nbl::eval {

struct Interval {
  double low = 0, high = 0;
};

/// Bias-corrected and accelerated bootstrap interval (Efron 1987) of the mean of `differences`. The same seed gives the
/// same interval. With fewer than two values, or none that differ, the mean twice.
Interval bca_interval(std::span<const double> differences, double confidence, int64_t samples, uint64_t seed);

/// Two-sided exact test (binomial at one half) of `lost` against `won` discordant pairs.
double mcnemar_exact(int64_t lost, int64_t won);

/// Holm's step-down correction: p-values in, adjusted p-values out, in the same order.
std::vector<double> holm(std::span<const double> p);

/// Requests needed to see a mean difference `delta` at two-sided level alpha with the given power, when single
/// differences have this standard deviation.
int64_t requests_needed(double delta, double deviation, double alpha, double power);

double normal_cdf(double z);
double normal_quantile(double p);  ///< 0 < p < 1

}  // namespace nbl::eval
