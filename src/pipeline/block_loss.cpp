#include "pipeline/block_loss.h"

#include <algorithm>

namespace nbl::pipeline {
namespace {

/// A token's squared length, in medians, up to which its error counts fully.
constexpr double kOrdinary = 4;

}  // namespace

std::vector<double> BlockLoss::row_weights(const float* target, int64_t rows) const {
  std::vector<double> sizes(static_cast<std::size_t>(rows));
  for (double& size : sizes) {
    for (int64_t i = 0; i < width_; ++i) size += static_cast<double>(target[i]) * static_cast<double>(target[i]);
    target += width_;
  }
  std::vector<double> sorted = sizes;
  std::nth_element(sorted.begin(), sorted.begin() + rows / 2, sorted.end());
  const double most = kOrdinary * sorted[static_cast<std::size_t>(rows / 2)];
  for (double& size : sizes) size = size > most ? most / size : 1.0;
  return sizes;
}

double BlockLoss::sum(const float* target, int64_t rows, const float* y) const {
  double total = 0;
  for (const double weight : row_weights(target, rows)) {
    double error = 0;
    for (int64_t i = 0; i < width_; ++i) {
      const double d = static_cast<double>(y[i]) - static_cast<double>(target[i]);
      error += d * d;
    }
    total += weight * error;
    y += width_;
    target += width_;
  }
  return total;
}

void BlockLoss::slope(const float* target, int64_t rows, float* y) const {
  for (const double weight : row_weights(target, rows)) {
    for (int64_t i = 0; i < width_; ++i) y[i] = static_cast<float>(weight) * (y[i] - target[i]);
    y += width_;
    target += width_;
  }
}

}  // namespace nbl::pipeline
