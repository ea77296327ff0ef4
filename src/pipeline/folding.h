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

/// The row of its producer that makes each column of the group's input, when a linear does: the last rows of a fused gate|up, the
/// value rows of a fused projection; with grouped queries several columns come from one row. Empty when no rows do.
std::vector<int64_t> producing_rows(const model::LayerWeights& layer, const model::InputGroup& group, const model::Config& config);

/// Multiplies the columns of every linear of `group` by s, divides its producer by s and changes the statistics alike.
/// Every s must be positive and finite. A linear producer takes the scales when columns that one of its rows makes have one scale.
Result<FoldResult> fold_input_scales(model::LayerWeights& layer, const model::Config& config,
                                     const model::InputGroup& group, std::span<const float> s,
                                     quant::InputStats& stats);

}  // namespace nbl::pipeline
