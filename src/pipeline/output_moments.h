// What an error in a linear's output costs in the end: second moments of the gradients of the original model's predictions with respect
// to that output, from a pass forward through it and one back. One layer's weights are in memory at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/file.h"
#include "base/parallel.h"
#include "base/status.h"
#include "model/arch.h"
#include "model/block.h"
#include "tensor/checkpoint.h"
#include "tensor/linear.h"
#include "text/tokenizer.h"

namespace nbl::pipeline {

class OutputMoments {
 public:
  /// Random functions of a token's scores whose gradients go back from it. A second one is worth as much as
  /// another token and takes half its time, as the way forward is the first one's (measured in docs/methods/gptq.md).
  static constexpr int kProbes = 2;

  struct Options {
    int64_t windows = 0, length = 0;
    uint64_t seed = 0;
    Compute compute = Compute::fast;
    int64_t first_layer = 0;  ///< layers before it are not asked for
    std::optional<std::filesystem::path> spill = std::nullopt, spill_moments = std::nullopt;  ///< where streams, and moments, go that are not to stay in memory
  };
  /// Called before each batch of windows; an error ends the work.
  using TickFn = std::function<Status(int64_t layer, bool back)>;

  /// ids [windows * length]. Windows beyond the last whole batch are left out. The model must be one that can_tune_model().
  static Result<OutputMoments> measure(const Checkpoint& input, const model::Architecture& arch, const model::Config& config, Team& team,
                                       std::span<const text::TokenId> ids, const Options& options, const TickFn& tick);

  /// How many were summed.
  int64_t gradients() const noexcept { return gradients_; }
  /// [n, n] of a linear of n outputs: the sum over gradients() of g g^T, g as OutputGradient::probe() begins it. Empty: not measured.
  Result<std::vector<float>> load(int64_t layer, model::Part part) const;

 private:
  /// Lower triangles, row by row, in memory or at an offset of the file.
  struct Triangle {
    int64_t n = 0, offset = 0;
    std::vector<float> values;
  };
  Status keep(int64_t layer, model::Part part, const std::vector<float>& square);

  std::vector<std::map<model::Part, Triangle>> layers_;
  std::optional<ScratchFile> file_;
  int64_t gradients_ = 0, stored_bytes_ = 0;
};

}  // namespace nbl::pipeline
