// Learned rounding: the codes and scales of all linears of a decoder block, moved together to where the block's output is
// closest to the original block's (after Cheng et al., 2023, SignRound).
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
#include "tensor/linear.h"

namespace nbl::pipeline {

struct TuneOptions {
  int64_t iterations = 50;
  double rate = 0;        ///< of codes, in steps of the grid an iteration; falls linearly to 0. 0: a good one
  double scale_rate = 0.001;  ///< of scales, relative; falls alike
  int64_t batches = 2;    ///< of windows in an iteration
  uint64_t seed = 0;
  Compute compute = Compute::fast;
};

/// Calibration tokens in batches of whole windows.
struct TuneData {
  int64_t batches = 0, batch_windows = 0, length = 0, hidden = 0;  ///< every batch is full
  /// [batch_windows * length, hidden]: what the quantized model feeds the block, and what the original block makes of what the
  /// original model feeds it. Copied out.
  std::function<Status(int64_t batch, float* input, float* target)> load;
};

struct TuneResult {
  double before = 0, after = 0;  ///< mean squared error of the block's output on batches that were not learned from
  bool changed = false;
  std::string note;
};

/// `original`: the block before it was quantized. `codes`: the block's quantized linears, natural column order; changed only when that lowered the error. `weights`: the
/// block with those values; follows.
Result<TuneResult> tune_block(const model::Architecture& arch, const model::Config& config, int64_t layer, const TuneData& data,
                              const TuneOptions& options, Team& team, const std::function<Status(int64_t iteration)>& tick,
                              const model::LayerWeights& original, model::LayerWeights* weights,
                              std::map<model::Part, quant::AffineCodes>* codes);

}  // namespace nbl::pipeline
