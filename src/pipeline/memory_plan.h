// How much memory a job will take, before it begins: to keep a cap, or to say that it cannot be kept.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "model/arch.h"
#include "quant/method.h"
#include "tensor/checkpoint.h"
#include "tensor/linear.h"

namespace nbl::pipeline {

/// What the job is, as far as memory is concerned.
struct JobShape {
  int64_t windows = 0, length = 0;
  uint32_t needs = 0;       ///< of all methods together
  bool sequential = false;  ///< one group's statistics at a time
  int64_t learned_tokens = 0;  ///< in a step of learning a block; 0: nothing is learned
  bool whole_model = false;  ///< all layers are learned together at the end
  int64_t output_tokens = 0;  ///< of a pass back through the original model, before the first layer
  Compute compute = Compute::fast;
  int threads = 1;
};

/// Bytes. All but `spilled` are of memory.
struct MemoryPlan {
  int64_t cap = 0;           ///< 0: none
  int64_t process = 0;       ///< what the process holds before the job
  int64_t weights = 0;       ///< one decoder layer, as read, as it runs and as it is quantized
  int64_t activations = 0;   ///< of all calibration tokens between two layers
  int64_t work = 0;          ///< inside a layer, for the tokens that run together
  int64_t statistics = 0;    ///< Hessians, sums and factors of the largest input
  int64_t gradients = 0;     ///< of a pass back through the original model, before anything is quantized
  int64_t moments = 0;       ///< what that pass leaves
  int64_t tables = 0;        ///< the largest tensor outside the layers: embeddings, output projection
  int64_t spilled = 0;       ///< on disk, before compression
  int64_t spilled_moments = 0;  ///< of them; with all else that is spilled, or alone, when they are many
  bool spill = false;
  bool keep = false;         ///< inputs of linears that add to the residual stream are kept (counted in activations)

  int64_t peak() const noexcept;
  Json to_json() const;
  std::string text() const;  ///< one line
};

/// Chooses whether activations stay in memory, and whether inputs are kept beside them. Code::limit, naming the smallest cap that works, when nothing fits.
Result<MemoryPlan> plan_memory(const Checkpoint& input, const model::Architecture& arch, const model::Config& config,
                               const JobShape& shape, int64_t cap);

}  // namespace nbl::pipeline
