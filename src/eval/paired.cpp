#include "eval/paired.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/random.h"
#include "eval/statistics.h"

namespace nbl::eval {

double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

double normal_quantile(double p) {
  // Bisection to the last bit that matters: this is not called often.
  double low = -40, high = 40;
  for (int i = 0; i < 200 && high - low > 1e-15 * std::max(1.0, std::fabs(low)); ++i) {
    const double middle = 0.5 * (low + high);
    (normal_cdf(middle) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

Interval bca_interval(std::span<const double> differences, double confidence, int64_t samples, uint64_t seed) {
  const double estimate = mean(differences);
  const std::size_t n = differences.size();
  const auto [smallest, largest] = std::minmax_element(differences.begin(), differences.end());
  if (n < 2 || *smallest == *largest || samples < 2) return {estimate, estimate};

  Random random(seed);
  std::vector<double> means(static_cast<std::size_t>(samples));
  double below = 0;
  for (double& m : means) {
    double total = 0;
    for (std::size_t i = 0; i < n; ++i) total += differences[random.below(n)];
    m = total / static_cast<double>(n);
    below += m < estimate ? 1.0 : m == estimate ? 0.5 : 0.0;
  }
  std::sort(means.begin(), means.end());

  // Bias: where the estimate lies among its copies. Acceleration: the skewness of what leaving one out does.
  const double share = std::clamp(below / static_cast<double>(samples), 0.5 / static_cast<double>(samples),
                                  1.0 - 0.5 / static_cast<double>(samples));
  const double z0 = normal_quantile(share);
  double squares = 0, cubes = 0;
  for (const double d : differences) {
    // The mean without d lies (estimate - d) / (n - 1) from the mean of all; the factor cancels.
    const double u = d - estimate;
    squares += u * u;
    cubes += u * u * u;
  }
  const double acceleration = cubes / (6.0 * std::pow(squares, 1.5));
  const auto end = [&](double level) {
    const double z = z0 + normal_quantile(level);
    const double adjusted = normal_cdf(z0 + z / (1.0 - acceleration * z));
    const double at = std::clamp(adjusted, 0.0, 1.0) * static_cast<double>(samples - 1);
    const std::size_t i = static_cast<std::size_t>(at), j = std::min(i + 1, means.size() - 1);
    return means[i] + (at - static_cast<double>(i)) * (means[j] - means[i]);
  };
  const double tail = 0.5 * (1.0 - confidence);
  return {end(tail), end(1.0 - tail)};
}

double mcnemar_exact(int64_t lost, int64_t won) {
  const int64_t n = lost + won, k = std::min(lost, won);
  if (n == 0) return 1.0;
  double tail = 0;
  for (int64_t i = 0; i <= k; ++i) {
    tail += std::exp(std::lgamma(static_cast<double>(n + 1)) - std::lgamma(static_cast<double>(i + 1)) -
                     std::lgamma(static_cast<double>(n - i + 1)) - static_cast<double>(n) * std::numbers::ln2);
  }
  return std::min(1.0, 2.0 * tail);
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double highest = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    highest = std::max(highest, std::min(1.0, static_cast<double>(p.size() - i) * p[order[i]]));
    adjusted[order[i]] = highest;
  }
  return adjusted;
}

int64_t requests_needed(double delta, double deviation, double alpha, double power) {
  if (delta == 0 || deviation == 0) return 0;
  const double z = normal_quantile(1.0 - alpha / 2) + normal_quantile(power);
  const double n = z * deviation / delta;
  return static_cast<int64_t>(std::ceil(n * n));
}

}  // namespace nbl::eval
