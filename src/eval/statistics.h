// Means, their standard errors, quantiles.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nbl::eval {

/// Compensated, so that a mean of a million terms is as good as one of ten.
double sum(std::span<const double> values);
double mean(std::span<const double> values);
/// Of the mean: sample standard deviation (n - 1) over sqrt(n); 0 with fewer than two values.
double mean_stderr(std::span<const double> values);
/// Linear interpolation between order statistics, q in [0, 1]. Sorts `values`. 0 when empty.
double quantile(std::vector<double>& values, double q);

}  // namespace nbl::eval
