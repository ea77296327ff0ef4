#include "pipeline/norm_gradient.h"

#include <cmath>

namespace nbl::pipeline {

void rms_norm(Team& team, int64_t tokens, std::span<const float> weight, float eps, const float* in, float* out, float* inverse) {
  const int64_t n = static_cast<int64_t>(weight.size());
  team.parallel_for(tokens, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* row = in + t * n;
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(row[i]) * static_cast<double>(row[i]);
      inverse[t] = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(n) + static_cast<double>(eps)));
      for (int64_t i = 0; i < n; ++i) out[t * n + i] = row[i] * inverse[t] * weight[static_cast<std::size_t>(i)];
    }
  });
}

void rms_norm_backward(Team& team, int64_t tokens, std::span<const float> weight, const float* in, const float* inverse,
                       const float* dy, float* dx) {
  const int64_t n = static_cast<int64_t>(weight.size());
  team.parallel_for(tokens, 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float *row = in + t * n, *g = dy + t * n;
      double along = 0;
      for (int64_t i = 0; i < n; ++i) along += static_cast<double>(g[i] * weight[static_cast<std::size_t>(i)] * row[i]);
      const float r = inverse[t], shrink = static_cast<float>(along / static_cast<double>(n)) * r * r * r;
      for (int64_t i = 0; i < n; ++i) dx[t * n + i] += g[i] * weight[static_cast<std::size_t>(i)] * r - row[i] * shrink;
    }
  });
}

std::vector<float> rms_norm_gradient(Team& team, int64_t tokens, int64_t width, const float* in, const float* inverse,
                                     const float* dy) {
  std::vector<float> sum(static_cast<std::size_t>(width));
  team.parallel_for(width, 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < tokens; ++t) {
      const float *row = in + t * width, *g = dy + t * width;
      for (int64_t i = begin; i < end; ++i) sum[static_cast<std::size_t>(i)] += g[i] * row[i] * inverse[t];
    }
  });
  return sum;
}

}  // namespace nbl::pipeline
