// One decoder layer that runs in pieces: as far as the input of one of its groups of linears, and on from there. What
// calibration is made of: it stops at an input, quantizes the linears that read it, and goes on with their new values.
#pragma once

#include <cstdint>
#include <memory>

#include "base/parallel.h"
#include "base/status.h"
#include "model/arch.h"
#include "model/block.h"
#include "tensor/linear.h"

namespace nbl::model {

/// The input of a group of linears: x [m, k] row-major, ldx floats a row. An expert's are the rows that go to it; one that
/// few rows chose is shown all of them, so that each has something to be quantized by.
struct GroupInput {
  const float* x = nullptr;
  int64_t ldx = 0, m = 0, k = 0;
};

class LayerRunner {
 public:
  /// Room for `windows` windows of `length` tokens at a time, for as many layers as load() is called with. Exact: the
  /// same bytes whatever the windows beside one and whatever the processor. Fast: weights and inputs of linears are
  /// rounded to bfloat16 where the processor multiplies that, which moves an output by about one part in a thousand;
  /// then the bytes depend on the processor, and still not on the team.
  static Result<LayerRunner> create(const Architecture& arch, const Config& config, Team& team, int64_t windows,
                                    int64_t length, Compute compute);
  LayerRunner(LayerRunner&&) noexcept;
  LayerRunner& operator=(LayerRunner&&) noexcept;
  ~LayerRunner();

  int64_t windows() const noexcept;  ///< as many as there is room for

  /// The layer to run from now on. Copies what it needs.
  Status load(const LayerWeights& weights, int64_t layer);
  /// One matrix, or every norm, of that layer changed.
  Status replace(Part part, const LayerWeights::Matrix& matrix);
  void replace_norms(const LayerWeights& weights);

  /// The last group, not after `group`, at whose input a run can begin with nothing but the residual stream. groups() is
  /// the layer's end.
  std::size_t restart_point(std::size_t group) const noexcept;
  std::size_t groups() const noexcept;  ///< of the layer loaded, as layer_groups() has them

  /// Starts with the residual stream as it is before the norm of `group` (a restart point): hidden
  /// [windows * length, hidden], copied.
  Status begin(std::size_t group, const float* hidden, int64_t windows);
  /// Goes on to the input of `group`, or to the end of the layer. Never backwards.
  Status advance(std::size_t group);
  /// What the linears of the group reached will read; valid until the next call. Nothing at the layer's end.
  GroupInput input() const noexcept;
  /// The residual stream [windows * length, hidden] as it is now.
  const float* residual() const noexcept;

 private:
  struct Impl;
  explicit LayerRunner(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nbl::model
