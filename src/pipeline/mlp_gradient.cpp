#include "pipeline/mlp_gradient.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/cpu.h"
#include "kernels/elementwise/elementwise.h"
#include "model/forward.h"

namespace nbl::pipeline {
namespace {

using model::Activation;

const kernels::ElementwiseKernels& elementwise() {
  static const kernels::ElementwiseKernels& chosen = kernels::elementwise_kernels(best_isa());
  return chosen;
}

float gelu_slope(float x) {
  const float density = 0.39894228f * std::exp(-0.5f * x * x);
  return 0.5f * (1.0f + std::erf(x * 0.70710678f)) + x * density;
}

/// slope = the activation's derivative at x. May not be x.
void derivative(Activation activation, const float* x, int64_t n, float* slope) {
  // Half of them are x times the logistic function of some u(x): slope = s + x s (1 - s) u'(x).
  const auto logistic = [&](auto&& u, auto&& du) {
    for (int64_t i = 0; i < n; ++i) slope[i] = u(x[i]);
    elementwise().activate(kernels::Act::sigmoid, slope, nullptr, slope, n);
    for (int64_t i = 0; i < n; ++i) slope[i] *= 1.0f + x[i] * (1.0f - slope[i]) * du(x[i]);
  };
  const auto each = [&](auto&& at) {
    for (int64_t i = 0; i < n; ++i) slope[i] = at(x[i]);
  };
  // Those that are known by their own values.
  const auto by_value = [&](kernels::Act act, auto&& at) {
    elementwise().activate(act, x, nullptr, slope, n);
    for (int64_t i = 0; i < n; ++i) slope[i] = at(slope[i]);
  };
  constexpr float kQuick = 1.702f, kTanh = 1.59576912f, kCubic = 0.044715f, kMost = 10.0f;  // as in kernels/elementwise
  switch (activation) {
    case Activation::silu:
      return logistic([](float v) { return v; }, [](float) { return 1.0f; });
    case Activation::quick_gelu:
      return logistic([](float v) { return kQuick * v; }, [](float) { return kQuick; });
    case Activation::gelu_tanh:
      return logistic([](float v) { return kTanh * v * (1.0f + kCubic * v * v); },
                      [](float v) { return kTanh * (1.0f + 3.0f * kCubic * v * v); });
    case Activation::gelu_erf:
      return each(gelu_slope);
    case Activation::gelu_clipped:
      return each([](float v) { return v < kMost ? gelu_slope(v) : 0.0f; });
    case Activation::mish:
      return each([](float v) {
        const float s = 1.0f / (1.0f + std::exp(-v)), t = std::tanh(v > 20 ? v : std::log1p(std::exp(v)));
        return t + v * s * (1.0f - t * t);
      });
    case Activation::sigmoid:
      return by_value(kernels::Act::sigmoid, [](float v) { return v * (1.0f - v); });
    case Activation::tanh:
      return by_value(kernels::Act::tanh, [](float v) { return 1.0f - v * v; });
    case Activation::relu:
      return each([](float v) { return v > 0 ? 1.0f : 0.0f; });
    case Activation::leaky_relu:
      return each([](float v) { return v > 0 ? 1.0f : 0.01f; });
    case Activation::relu6:
      return each([](float v) { return v > 0 && v < 6 ? 1.0f : 0.0f; });
    case Activation::relu_squared:
      return each([](float v) { return 2.0f * std::max(v, 0.0f); });
    case Activation::hard_swish:
      return each([](float v) { return v <= -3 ? 0.0f : v >= 3 ? 1.0f : (2 * v + 3) / 6; });
    case Activation::linear:
      return each([](float) { return 1.0f; });
  }
}

}  // namespace

void activate(Team& team, const MlpShape& shape, const float* hidden, float* out) {
  const int64_t ffn = shape.ffn;
  const kernels::Act act = model::kernel_act(shape.activation);
  team.parallel_for(shape.tokens, 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* row = hidden + t * shape.width();
      elementwise().activate(act, row, shape.gated ? row + ffn : nullptr, out + t * ffn, ffn);
    }
  });
}

void activate_backward(Team& team, const MlpShape& shape, const float* hidden, const float* d_out, float* d_hidden) {
  const int64_t ffn = shape.ffn;
  const kernels::Act act = model::kernel_act(shape.activation);
  team.parallel_for(shape.tokens, 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float *row = hidden + t * shape.width(), *dy = d_out + t * ffn;
      float* d_row = d_hidden + t * shape.width();
      derivative(shape.activation, row, ffn, d_row);
      if (!shape.gated) {
        for (int64_t i = 0; i < ffn; ++i) d_row[i] *= dy[i];
        continue;
      }
      for (int64_t i = 0; i < ffn; ++i) d_row[i] *= dy[i] * row[ffn + i];
      elementwise().activate(act, row, dy, d_row + ffn, ffn);
    }
  });
}

}  // namespace nbl::pipeline
