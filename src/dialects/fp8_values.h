// FP8 weights with scales.
#pragma once

#include "base/status.h"
#include "io/container.h"
#include "tensor/qtensor.h"

namespace nbl::dialects {

/// weight: F8_E4M3 [n, k]. scale: floats of one element, or [rows, columns] where each covers ceil(n / rows) x ceil(k /
/// columns) weights, or blocks of block_rows x block_columns when those are given. w = fl(value * scale): e4m3
/// with scales, or dense f32 where scales cover columns that make no group.
Result<QTensor> fp8_matrix(const io::RawTensor& weight, const io::RawTensor& scale, int64_t block_rows,
                           int64_t block_columns);

/// The same checks without reading the weight.
Status check_fp8(const io::RawTensor& weight, const io::RawTensor& scale, int64_t block_rows, int64_t block_columns);

}  // namespace nbl::dialects
