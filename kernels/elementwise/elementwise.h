// Element-wise work of a transformer: norms, rotary positions, activations, sums. All pointers are to float32, of any
// alignment; no function reads or writes beyond the n elements it is told of. Each element of a result is computed in
// an order that depends on n alone, the same on every instruction set: equal inputs give equal bytes everywhere.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace nbl::kernels {

/// relu_squared: max(x, 0)^2; quick_gelu: x * sigmoid(1.702 x);
/// gelu_clipped: gelu_erf within -10 ... 10; mish: x * tanh(ln(1 + e^x)); leaky_relu: x, or 0.01 x below 0; relu6: x within 0 ... 6;
/// hard_swish: x * relu6(x + 3) / 6.
enum class Act : int32_t { silu, gelu_tanh, gelu_erf, relu, relu_squared, quick_gelu, sigmoid, tanh, gelu_clipped, mish, leaky_relu, relu6, hard_swish, linear };

struct ElementwiseKernels {
  const char* name;
  Isa isa;

  /// y = w * (x / sqrt(mean(x^2) + eps)). y may be x.
  void (*rms_norm)(const float* x, const float* w, int64_t n, float eps, float* y);
  /// y = w * (x - mean) / sqrt(variance + eps) + b; b may be null. y may be x.
  void (*layer_norm)(const float* x, const float* w, const float* b, int64_t n, float eps, float* y);
  /// x += y.
  void (*add)(float* x, const float* y, int64_t n);
  /// x *= s.
  void (*scale)(float* x, float s, int64_t n);
  /// out = act(gate) * up, or act(gate) when up is null. out may be gate or up.
  void (*activate)(Act act, const float* gate, const float* up, float* out, int64_t n);
  /// Rotates pairs by the angles given as cos and sin [pairs]: (x[i], x[i + pairs]) for half, (x[2i], x[2i + 1]) for
  /// adjacent.
  void (*rope_half)(float* x, const float* cos, const float* sin, int64_t pairs);
  void (*rope_adjacent)(float* x, const float* cos, const float* sin, int64_t pairs);
  /// x = cap * tanh(x / cap).
  void (*soft_cap)(float* x, float cap, int64_t n);
  /// x = e^(x - largest); returns the sum of them. n > 0.
  float (*exp_sum)(float* x, int64_t n);
};

/// The variant for `isa`, or the best one below it.
const ElementwiseKernels& elementwise_kernels(Isa isa) noexcept;

}  // namespace nbl::kernels
