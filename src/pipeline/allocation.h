// Bits where they matter: how much each tensor's rounding changes what the model computes is measured once, then bits and group sizes
// are given out so that the sum of expected changes is least at a given size.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "pipeline/pipeline.h"

namespace nbl::pipeline {

/// What one tensor would take and lose with one width and group size.
struct Choice {
  int bits = 4;
  int64_t group = 128;
  double stored_bits = 0;  ///< a weight, scales and zeros included
  double error = 0;        ///< of rounding to nearest, relative, inputs weighed by their size
};
struct TensorSensitivity {
  std::string name;
  int64_t n = 0, k = 0;
  /// What the measurement's unit becomes for a relative error of 1 in this tensor.
  double sensitivity = 0;
  std::vector<Choice> choices;
};
struct Sensitivities {
  std::string model;  ///< what was measured, so that a saved measurement is not used for another model
  int64_t tokens = 0;
  /// "kl": divergence of the predictions from the original's, nats a token. "hidden": mean square change of the last hidden states,
  /// for models whose end has no such measure here.
  std::string unit = "kl";
  std::vector<TensorSensitivity> tensors;
};

Json to_json(const Sensitivities& measured);
Result<Sensitivities> sensitivities_from_json(const Json& json, std::string_view where);

/// Rounds one tensor after the other to three bits and runs the model on from there: windows of options.calibration, a few
/// thousand tokens of it. One layer's weights in memory at a time.
Result<Sensitivities> measure_sensitivities(const Checkpoint& input, const QuantizeOptions& options, Team& team,
                                            const ProgressFn& progress);

/// Widths and groups of least expected change with no more than `target` stored bits a weight on average. One entry a tensor, in
/// order. An error names the smallest target that can be met.
Result<std::vector<Choice>> allocate(const Sensitivities& measured, double target, const std::vector<int>& widths);
/// The fewest bits whose expected changes add up to no more than `target`, in the measurement's unit.
Result<std::vector<Choice>> allocate_to_change(const Sensitivities& measured, double target, const std::vector<int>& widths);

/// How small, one of: stored bits a weight of what is quantized; bytes of the whole file; divergence that rounding to nearest would
/// add up to, nats a token (methods that calibrate stay below it).
struct SizeTarget {
  double bits = 0;
  int64_t bytes = 0;
  double kl = 0;
};

/// Appends an override for every tensor that the recipe (a method with bits and group_size) would have quantized alike. `saved`:
/// a measurement that is read when it exists and written when not; empty: neither.
Status allocate_to_target(const Checkpoint& input, const SizeTarget& target, const std::filesystem::path& saved, Team& team,
                          const ProgressFn& progress, QuantizeOptions* options);

}  // namespace nbl::pipeline
