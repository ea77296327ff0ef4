// Learning a whole quantized model at once: codes, scales and norms moved along the gradient of the divergence of its predictions
// from the original's. What layer-wise methods cannot see, errors that later layers amplify or undo, is corrected here.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "model/arch.h"
#include "model/block.h"
#include "quant/affine.h"
#include "quant/method.h"
#include "tensor/checkpoint.h"
#include "tensor/linear.h"

namespace nbl::pipeline {

/// One layer of the quantized model: every matrix as it is stored now, and the codes of those that may be learned.
struct TunedLayer {
  model::LayerWeights weights;  ///< matrices with codes need hold the ORIGINAL values: a code starts as near to them as it may
  std::map<model::Part, quant::AffineCodes> codes;
};

/// Calibration tokens in batches of whole windows, all of one size.
struct ModelTuneData {
  int64_t batches = 0, batch_windows = 0, length = 0;
  /// [batch_windows * length, hidden]: embeddings, and what the original's last block gives for them. Copied out.
  std::function<Status(int64_t batch, float* embedded, float* original)> load;
};

struct ModelTuneOptions {
  quant::ModelLearning learning;
  uint64_t seed = 0;
  Compute compute = Compute::fast;
  int64_t activation_bytes = int64_t{1} << 30;  ///< more than this: a block's forward pass is run again on the way back
};

struct ModelTuneResult {
  double before = 0, after = 0;  ///< mean divergence in nats over the first and the last quarter of an epoch's steps, as met
  std::vector<float> final_norm;  ///< as it is multiplied
  std::string note;
};

/// Whether all layers and the model's end have gradients here.
bool can_tune_model(const model::Architecture& arch, const model::Config& config);

/// Whether the weights of this norm are learned: not of those that store none, or a tensor for each head.
bool is_learned_norm(const model::TensorSpec& spec) noexcept;

/// Bytes that a block's forward pass keeps for its way back.
int64_t tuned_activation_bytes(const model::Config& config, int64_t windows, int64_t length);

/// Changes codes (codes and scales) and the norms of every layer. The same bytes for any size of the team.
Result<ModelTuneResult> tune_model(const Checkpoint& input, const model::Architecture& arch, const model::Config& config,
                                   const ModelTuneData& data, const ModelTuneOptions& options, Team& team,
                                   const std::function<Status(int64_t step, int64_t steps)>& tick, std::vector<TunedLayer>* layers);

}  // namespace nbl::pipeline
