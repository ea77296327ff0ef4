// The calibration tokens on their way through the layers: in the model as it is being quantized and, for methods that
// correct what earlier layers got wrong, beside it in the original model.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "model/arch.h"
#include "model/block.h"
#include "model/layer_runner.h"
#include "pipeline/activations.h"
#include "pipeline/kept_input.h"
#include "quant/method.h"
#include "tensor/checkpoint.h"

namespace nbl::pipeline {

/// Embeds `ids`, whole windows of `length` tokens, and hands on batches of `rows` tokens (the last may be shorter) [rows, hidden] in their
/// order.
Status embed_batches(const Checkpoint& checkpoint, const model::Architecture& arch, const model::Config& config,
                     std::span<const text::TokenId> ids, int64_t length, int64_t rows, const std::function<Status(int64_t batch, const float*)>& take);

class Streams {
 public:
  struct Options {
    int64_t windows = 0, length = 0;
    Compute compute = Compute::fast;
    bool original = false;  ///< the original model runs beside the quantized one
    bool keep_input = false;  ///< rewind() and load_pair() will be asked for
    /// Inputs of linears that add to the residual stream are kept until these are quantized, so that nothing runs twice.
    bool keep_adding = false;
    /// Share of the batches whose inputs are compared with the original model's; that runs on no others. 1 when load_pair() or
    /// load_ends() will be asked for.
    double original_share = 1;
    std::optional<std::filesystem::path> spill = std::nullopt;  ///< where activations go that are not to stay in memory
  };
  /// Called before each batch of windows; an error ends the work.
  using TickFn = std::function<Status(int64_t window)>;

  /// Embeds `ids` [windows * length].
  static Result<Streams> create(const Checkpoint& checkpoint, const model::Architecture& arch,
                                const model::Config& config, Team& team, std::span<const text::TokenId> ids,
                                const Options& options);

  /// Both streams enter a layer, at first with the same weights.
  Status begin_layer(const model::LayerWeights& weights, int64_t layer);
  /// The quantized model's layer changed: one matrix, or anything.
  Status replace(model::Part part, const model::LayerWeights::Matrix& matrix);
  Status reload(const model::LayerWeights& weights);

  /// Statistics of the inputs of `groups` (ascending), needs[i] of groups[i] (bits of quant::Need). Everything before the
  /// first of them must have its final weights. `next`: the first group of the next call, or the number of groups.
  /// stats is indexed by group.
  Status gather(std::span<const std::size_t> groups, std::span<const uint32_t> needs, std::size_t next,
                const TickFn& tick, std::vector<quant::InputStats>* stats);

  /// The quantized model's stream goes back to where the layer begins, whose weights are then set anew by reload().
  Status rewind();
  /// Batch `batch` of what the quantized model feeds the layer, and of what the original model has behind it, when all groups'
  /// statistics were gathered. Copied out.
  Status load_pair(int64_t batch, float* input, float* target);
  /// When both streams have left the last layer: embeddings again, in place of the quantized model's stream. load_ends() then gives
  /// batch `batch` of them and of what the original's last layer gives. Copied out.
  Status start_again(const Checkpoint& checkpoint, std::span<const text::TokenId> ids);
  Status load_ends(int64_t batch, float* embedded, float* original);
  int64_t batches() const noexcept;
  int64_t batch_windows(int64_t batch) const noexcept;

  /// Windows that go through a layer together.
  static int64_t together(int64_t windows, int64_t length);

  /// Both streams leave the layer, whose weights are final.
  Status end_layer(const TickFn& tick);

 private:
  Streams() = default;
  Status embed(const Checkpoint& checkpoint, std::span<const text::TokenId> ids, bool original);
  Status begin(model::LayerRunner& runner, std::size_t point, Activations& hidden, int64_t batch);
  /// Brings the quantized model's stream of a batch from point_ to `point`, without running anything if its input was kept.
  Status step(std::size_t point, int64_t batch);
  bool beside(int64_t batch) const noexcept;  ///< whether the original model runs on this batch
  /// Runs `runner` on to a restart point and keeps the residual stream it has there.
  Status commit(model::LayerRunner& runner, std::size_t point, Activations& hidden, int64_t batch);

  const model::Architecture* arch_ = nullptr;
  model::Config config_;
  Team* team_ = nullptr;
  Options options_;
  std::optional<model::LayerRunner> quantized_, original_;
  Activations hidden_, original_hidden_;  ///< [windows * length, hidden] at these points of the layer:
  Activations input_;  ///< hidden_ as the layer began
  std::size_t point_ = 0, original_point_ = 0;
  std::vector<model::InputGroup> groups_;        ///< of the layer at hand
  std::optional<KeptInput> kept_;
  std::size_t kept_from_ = 0, kept_to_ = 0;  ///< the points that what is kept leads between
  std::vector<float> stream_;  ///< a batch of the stream on its way to the next point
  bool drifted_ = false;  ///< some weight before the point differs
};

}  // namespace nbl::pipeline
