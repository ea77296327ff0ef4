#include "pipeline/norm_gradient.h"

#include <cmath>

namespace nbl::pipeline {

NormStats norm_row(const NormRule& rule, const float* x, const float* w, const float* bias, int64_t n, float* y) {
  const double count = static_cast<double>(n);
  double mean = 0, squares = 0;
  if (rule.kind == model::Norm::layer) {
    for (int64_t i = 0; i < n; ++i) mean += static_cast<double>(x[i]);
    mean /= count;
  }
  for (int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(x[i]) - mean;
    squares += d * d;
  }
  const NormStats stats{static_cast<float>(mean),
                        static_cast<float>(1.0 / std::sqrt(squares / count + static_cast<double>(rule.eps)))};
  for (int64_t i = 0; i < n; ++i)
    y[i] = (x[i] - stats.mean) * stats.inverse * w[i] + (bias != nullptr ? bias[i] : 0.0f);
  return stats;
}

void norm_row_backward(const NormRule& rule, const NormStats& stats, const float* x, const float* w, const float* dy,
                       int64_t n, float* dx) {
  // With g = dy * w and the row normed but not weighed, h: dx = inverse * (g - h mean(g h)), and for LayerNorm less
  // mean(g).
  double along = 0, sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float g = dy[i] * w[i];
    along += static_cast<double>(g * (x[i] - stats.mean));
    sum += static_cast<double>(g);
  }
  const double count = static_cast<double>(n);
  const float shrink = static_cast<float>(along / count) * stats.inverse * stats.inverse;
  const float common = rule.kind == model::Norm::layer ? static_cast<float>(sum / count) : 0.0f;
  for (int64_t i = 0; i < n; ++i) dx[i] = (dy[i] * w[i] - common - (x[i] - stats.mean) * shrink) * stats.inverse;
}

void norm_rows(Team& team, const NormRule& rule, int64_t tokens, std::span<const float> weight,
               std::span<const float> bias, const float* in, float* out, NormStats* stats) {
  const int64_t n = static_cast<int64_t>(weight.size());
  team.parallel_for(tokens, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      stats[t] = norm_row(rule, in + t * n, weight.data(), bias.empty() ? nullptr : bias.data(), n, out + t * n);
  });
}

void norm_rows_backward(Team& team, const NormRule& rule, int64_t tokens, std::span<const float> weight,
                        const float* in, const NormStats* stats, const float* dy, float* dx) {
  const int64_t n = static_cast<int64_t>(weight.size());
  team.parallel_for(tokens, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<std::size_t>(n));
    for (int64_t t = begin; t < end; ++t) {
      norm_row_backward(rule, stats[t], in + t * n, weight.data(), dy + t * n, n, row.data());
      for (int64_t i = 0; i < n; ++i) dx[t * n + i] += row[static_cast<std::size_t>(i)];
    }
  });
}

std::vector<float> norm_weight_gradient(Team& team, int64_t tokens, int64_t width, const float* in,
                                        const NormStats* stats, const float* dy) {
  std::vector<float> sum(static_cast<std::size_t>(width));
  team.parallel_for(width, 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < tokens; ++t) {
      const float *row = in + t * width, *g = dy + t * width;
      for (int64_t i = begin; i < end; ++i)
        sum[static_cast<std::size_t>(i)] += g[i] * (row[i] - stats[t].mean) * stats[t].inverse;
    }
  });
  return sum;
}

}  // namespace nbl::pipeline
