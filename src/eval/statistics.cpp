#include "eval/statistics.h"

#include <algorithm>
#include <cmath>

namespace nbl::eval {

double sum(std::span<const double> values) {
  double total = 0, lost = 0;
  for (double v : values) {
    const double t = total + v;
    lost += std::fabs(total) >= std::fabs(v) ? (total - t) + v : (v - t) + total;
    total = t;
  }
  return total + lost;
}

double mean(std::span<const double> values) {
  return values.empty() ? 0.0 : sum(values) / static_cast<double>(values.size());
}

double mean_stderr(std::span<const double> values) {
  if (values.size() < 2) return 0.0;
  const double m = mean(values), n = static_cast<double>(values.size());
  double squares = 0;
  for (double v : values) squares += (v - m) * (v - m);
  return std::sqrt(squares / (n - 1) / n);
}

double quantile(std::vector<double>& values, double q) {
  if (values.empty()) return 0.0;
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const std::size_t low = static_cast<std::size_t>(at), high = std::min(low + 1, values.size() - 1);
  const double t = at - static_cast<double>(low);
  return values[low] + t * (values[high] - values[low]);
}

}  // namespace nbl::eval
