// Moving per-channel scales out of a layer's inputs into what produces them, so that x / s times W * s is what x times
// W was.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/arch.h"
#include "model/block.h"
#include "quant/method.h"

namespace nbl::pipeline {

/// Where the division by s went.
enum class Folded : uint8_t {
  norm,         ///< the norm before: its weight and bias changed
  linear,       ///< the linear before: rows of its weight and bias changed
  input_scale,  ///< nowhere: the quantized layer itself must multiply its input by 1 / s
};

struct FoldResult {
  Folded where = Folded::input_scale;
  model::Part changed = model::Role::attn_norm;  ///< the producer that was changed, unless input_scale
};

/// Multiplies the columns of every linear of `group` by s, divides its producer by s and changes the statistics alike.
/// Every s must be positive and finite. Whether a linear producer can take the scales depends on its rows: only when
/// one row makes one column of the input (no grouped queries in between).
Result<FoldResult> fold_input_scales(model::LayerWeights& layer, const model::Config& config,
                                     const model::InputGroup& group, std::span<const float> s,
                                     quant::InputStats& stats);

}  // namespace nbl::pipeline
