// The backward pass of a decoder block, as its architecture describes it: norms before and behind attention and MLP or on
// the stream itself, grouped queries, latent keys and values, windows, rotation, ALiBi, capped scores, gated and plain
// MLPs, experts. What learned rounding follows downhill. Its parts are norm_gradient, attention_gradient and
// latent_gradient (block_attention: one head), mlp_gradient and experts_gradient.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "model/arch.h"
#include "model/block.h"
#include "tensor/linear.h"

namespace nbl::pipeline {

class BlockGradient {
 public:
  /// Whether a layer of this model is such a block, with nothing in it that is not known here.
  static bool supports(const model::Architecture& arch, const model::Config& config, int64_t layer);

  /// For `windows` windows of `length` tokens. Fast: weights and the inputs of products are rounded to bfloat16 where
  /// the processor multiplies that. whole: gradients can be passed on to the block before. room: a block of the same
  /// shape whose memory this one uses too; forward() of one then spoils what backward() of the other needs.
  static Result<BlockGradient> create(const model::Architecture& arch, const model::Config& config, int64_t layer,
                                      Team& team, int64_t windows, int64_t length, Compute compute, bool whole = false,
                                      BlockGradient* room = nullptr);
  BlockGradient(BlockGradient&&) noexcept;
  BlockGradient& operator=(BlockGradient&&) noexcept;
  ~BlockGradient();

  /// The block's parameters; set() again after a matrix changed.
  Status set(model::Part part, const model::LayerWeights::Matrix& matrix);
  void set_norms(const model::LayerWeights& weights);

  /// From now on backward() gives for each matrix [n, k] the sum over tokens of g g^T [n, n], g the gradient with respect to a
  /// token's output of that matrix, in place of the matrix's own gradient.
  void take_output_moments();

  /// x [windows * length, hidden] to y of the same shape. Keeps what backward() needs.
  Status forward(const float* x, float* y);
  /// dy: the gradient of some loss with respect to y. (*gradients)[part] [n, k]: with respect to each matrix. Of a
  /// whole block, when asked for: dx, with respect to x (not where dy lies), and (*norm_gradients)[role] to the norms'
  /// weights.
  Status backward(const float* dy, std::map<model::Part, std::vector<float>>* gradients, float* dx = nullptr,
                  std::map<model::Role, std::vector<float>>* norm_gradients = nullptr);

 private:
  struct Impl;
  struct Workspace;
  explicit BlockGradient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nbl::pipeline
