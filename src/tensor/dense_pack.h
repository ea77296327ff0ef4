// Dense segments made from rows of floats on all threads: what changes from step to step, or is used once, and is to be multiplied.
#pragma once

#include <cstdint>

#include "base/parallel.h"
#include "base/status.h"
#include "tensor/qtensor.h"

namespace nbl {

/// [n, k] of `type` (f32, f16 or bf16: rounded to nearest). read(row, count, out) writes `count` rows of k floats, from several
/// threads at once; rows come sixteen at a time.
Result<Segment> pack_dense_rows(Team& team, int64_t n, int64_t k, DType type,
                                FunctionRef<void(int64_t row, int64_t count, float* out)> read);

}  // namespace nbl
