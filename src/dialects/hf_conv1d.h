// Weights that a Hugging Face class stores the other way round: GPT-2's Conv1D keeps [in, out] where all others keep
// [out, in]. A checkpoint gives all of them as [out, in]; dense directories are translated on the way in and out.
#pragma once

#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "tensor/qtensor.h"

namespace nbl::dialects {

/// Whether a dense directory of this config stores that weight as [in, out].
bool stored_as_conv1d(const Json& config, std::string_view name);
/// A dense matrix [n, k] as [k, n], in its own type.
Result<QTensor> transpose_dense(const QTensor& tensor);

}  // namespace nbl::dialects
