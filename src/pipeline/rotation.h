// A model whose residual stream is rotated by a random Hadamard matrix: the same function, but no channel stands out, so that every
// method finds less extreme weights and inputs (QuaRot, Ashkboos et al., 2024). The rotation is folded into the weights: nothing is
// computed at run time.
#pragma once

#include <memory>

#include "base/parallel.h"
#include "tensor/checkpoint.h"

namespace nbl::pipeline {

/// x Q for vectors of `width`: random signs, then a Hadamard transform of blocks of the largest power of two that divides it, divided by
/// the root of the block. Orthogonal.
class Rotation {
 public:
  Rotation(int64_t width, uint64_t seed);
  int64_t block() const noexcept { return block_; }
  void apply(float* x) const noexcept;

 private:
  int64_t block_ = 1;
  std::vector<float> signs_;
};

/// `input` with norm weights folded into the linears that read them, and Q folded into whatever writes or reads the residual stream. Tied
/// embeddings become untied, as the last norm goes into the output projection. Tensors are made when they are asked for. `input` must
/// outlive it. Code::unsupported, with the reason, when the architecture does not allow it: that is checked on the roles of its
/// tensors and then by running the first layer of both.
Result<std::unique_ptr<Checkpoint>> rotate_checkpoint(const Checkpoint& input, uint64_t seed, Team& team);

}  // namespace nbl::pipeline
