// compressed-tensors' float-quantized: e4m3 values with a scale a row or a block.
#pragma once

#include <optional>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "io/spool.h"
#include "tensor/qtensor.h"

namespace nbl::dialects {

/// Side of the square blocks that share a scale (the FP8_BLOCK preset).
inline constexpr int64_t kFp8Block = 128;

/// Whether the weight is e4m3 values with scales, and nothing besides.
bool is_scaled_fp8(const QTensor& tensor) noexcept;

/// "channel": a scale a row; "block": 128 x 128; Code::unsupported when the scales are shared in another way.
Result<std::string> fp8_strategy(const QTensor& tensor);

/// Adds MODULE.weight and MODULE.weight_scale. `strategy` is one that fp8_strategy() gave.
Status pack_fp8(const std::string& module, const QTensor& tensor, const std::string& strategy, io::TensorSpool& spool);

/// config_groups' "weights" of the strategy.
Json fp8_weights_config(const std::string& strategy);

}  // namespace nbl::dialects
