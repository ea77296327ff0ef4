// Error feedback onto grids that are fixed beforehand, whatever they are: K-quant blocks, codebooks, ternary weights. The column loop
// is that of feedback_rounding.h; here a function says what value a column's target becomes.
#pragma once

#include <cstdint>

#include "base/parallel.h"
#include "quant/hessian_factor.h"
#include "quant/method.h"

namespace nbl::quant {

/// Rounds one column of up to 32 rows: target[r] is the best real value of weight (row + r, column), r < rows; writes the value that
/// is stored for it and keeps its code. Called by several threads for different rows; rows beyond `rows` must be given a value too
/// (any finite one).
using RoundColumn = FunctionRef<void(int64_t row, int64_t rows, int64_t column, const float* target, float* value)>;

/// Columns in the factor's order, each one's error corrected by those after it. The factor must not be empty.
void round_on_grids(const LinearTask& task, const HessianFactor& factor, const MethodContext& context, RoundColumn round);

/// The factor for it: columns by falling activation. Empty when there is no usable Hessian (noted).
HessianFactor feedback_factor(const LinearTask& task, double damp, const MethodContext& context, std::vector<std::string>* notes);

}  // namespace nbl::quant
