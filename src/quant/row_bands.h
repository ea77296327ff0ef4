// Methods that treat every row for itself (Method::by_rows), a band of rows at a time: a band is read, rounded, packed and
// compared with what it was while it lies in the processor's caches, and no matrix of floats is ever made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "quant/method.h"
#include "tensor/row_joiner.h"

namespace nbl::quant {

/// What quantizing the whole matrix [n, k] at once gives, bit for bit (the error's last digits aside). read(row, count, out) writes
/// `count` rows as floats, from several threads at once. `alongside`, if any, runs once on one of the team's threads beside the bands.
/// `spare` (may be null) gives the memory of the codes. Empty when the bands do not make one tensor, have something to note or fail:
/// the whole matrix is then to be quantized, which says what is the matter.
std::optional<LinearResult> quantize_by_rows(const Recipe& recipe, const std::string& name, int64_t n, int64_t k,
                                             FunctionRef<void(int64_t row, int64_t count, float* out)> read,
                                             const MethodContext& context, const FunctionRef<void()>* alongside,
                                             SpareBuffers* spare = nullptr);

}  // namespace nbl::quant
