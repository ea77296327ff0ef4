// A quantized matrix whose codes and scales are real numbers for as long as they are learned: Adam (Kingma and Ba, 2015) on what
// rounding then makes whole again, its gradient passed on as if it did not round (SignRound's straight-through estimate).
#pragma once

#include <cstdint>
#include <vector>

#include "base/parallel.h"
#include "quant/affine.h"

namespace nbl::pipeline {

/// The direction of a step: running means of gradients and of their squares. What is noise cancels out, so that only those
/// numbers move far whose gradient keeps its sign.
class Adam {
 public:
  /// For the `count`-th step, from 1.
  explicit Adam(int64_t count);
  float direction(float slope, float& mean, float& square) const;

 private:
  float mean_gain_, square_gain_;
};

class LearnedCodes {
 public:
  /// codes: kept, and changed by keep() alone. original [n, k]: the weights as they were; empty: codes stay as they are, only scales
  /// are learned. A code starts inside its own step, as near as that allows to where the weight would be: one that rounding nearly
  /// chose otherwise is the first to move.
  void begin(quant::AffineCodes* codes, const std::vector<float>& original, Team& team);
  /// The matrix that the codes and scales stand for now: [n, k].
  void materialize(Team& team, std::vector<float>* w) const;
  /// A step downhill, the `count`-th (from 1). gradient [n, k] with respect to the matrix. rate: of codes, in steps of the grid;
  /// scale_rate: of scales, relative.
  void step(const std::vector<float>& gradient, int64_t count, float rate, float scale_rate, Team& team);
  /// Moves codes and scales to `share` of the way from where they began to where they are. original: as begin() had it.
  void stretch(float share, const std::vector<float>& original, Team& team);
  /// Writes the codes and scales as they are stored into begin()'s.
  void keep(Team& team);
  /// Forgets what learning needed.
  void end() { *this = {}; }

 private:
  template <class F>
  void each_group(Team& team, F&& f) const;
  float zero(std::size_t group) const {
    return codes_->symmetric ? static_cast<float>(1 << (codes_->bits - 1)) : codes_->zeros[group];
  }
  /// Where the code of a weight of this value begins.
  float start(std::size_t i, float value, std::size_t group) const;
  float max_code() const { return static_cast<float>((1 << codes_->bits) - 1); }
  float code(std::size_t i) const {
    return latent_.empty() ? static_cast<float>(codes_->codes[i]) : quant::round_even(std::min(std::max(latent_[i], 0.0f), max_code()));
  }

  quant::AffineCodes* codes_ = nullptr;
  std::vector<float> latent_, scales_;  ///< [n, k] in units of the grid, or empty; [n, groups]
  std::vector<float> mean_, square_, scale_mean_, scale_square_;
};

}  // namespace nbl::pipeline
