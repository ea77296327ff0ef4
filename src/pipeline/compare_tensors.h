// Whether two checkpoints hold the same numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "base/progress.h"
#include "base/status.h"
#include "tensor/checkpoint.h"

namespace nbl::pipeline {

struct TensorComparison {
  int64_t tensors = 0;  ///< compared value by value
  int64_t codes = 0;    ///< of these, compared code by code too: both sides have codes of one width and one kind of zero
  double max_abs_difference = 0;
  std::vector<std::string> differences;  ///< one sentence each
};

/// Every tensor of `before` against the one of the same name in `after`; what only `after` has is a difference too.
Result<TensorComparison> compare_tensors(const Checkpoint& before, const Checkpoint& after, Team& team,
                                         const ProgressFn& progress);

/// The largest |a - b| over two weights of equal shape, each times its input scale. NaN equals NaN.
double max_difference(const QTensor& a, const QTensor& b, Team& team);

/// Whether a tensor is read as a matrix (else as an array).
bool is_matrix(const TensorInfo& info);

}  // namespace nbl::pipeline
