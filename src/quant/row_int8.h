// Eight bits with one scale a row, the row's largest magnitude over 127: what the 8-bit methods share.
#pragma once

#include "quant/method.h"

namespace nbl::quant {

/// The task must have passed check_task().
Result<QTensor> quantize_rows_int8(const LinearTask& task, const MethodContext& context);

}  // namespace nbl::quant
