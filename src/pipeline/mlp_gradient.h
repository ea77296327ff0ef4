// Between the projections of an MLP: its activation, forward and back.
#pragma once

#include <cstdint>

#include "base/parallel.h"
#include "model/model.h"

namespace nbl::pipeline {

/// hidden [tokens, ffn], or gated [tokens, 2 * ffn], a token's gate and then what it multiplies. out, d_out [tokens,
/// ffn].
struct MlpShape {
  model::Activation activation = model::Activation::silu;
  bool gated = true;
  int64_t tokens = 0, ffn = 0;

  int64_t width() const noexcept { return gated ? 2 * ffn : ffn; }
};
void activate(Team& team, const MlpShape& shape, const float* hidden, float* out);
/// d_hidden: with respect to hidden, of its shape.
void activate_backward(Team& team, const MlpShape& shape, const float* hidden, const float* d_out, float* d_hidden);

}  // namespace nbl::pipeline
