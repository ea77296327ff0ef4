// The matrices outside the layers: embeddings and output projection. They are quantized when the job says so, without calibration:
// what they multiply is not gathered.
#pragma once

#include <map>
#include <string>

#include "model/arch.h"
#include "pipeline/overrides.h"
#include "pipeline/pipeline.h"

namespace nbl::pipeline {

using OuterRecipes = std::map<std::string, const quant::Recipe*, std::less<>>;

/// Those that get a recipe: an override of their own, or include_lm_head for what makes the logits (the embeddings when they are
/// tied). Overrides that match them count as used.
Result<OuterRecipes> outer_recipes(const Checkpoint& input, const model::Architecture& arch, const model::Config& config,
                                   const Overrides& overrides, const QuantizeOptions& options);

/// Quantizes one of them.
Result<quant::LinearResult> quantize_outer(const Checkpoint& input, const std::string& name, const quant::Recipe& recipe,
                                           uint64_t seed, Team& team);

}  // namespace nbl::pipeline
