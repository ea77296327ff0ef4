// A Segment as the kernels see it.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/simd/segment_view.h"
#include "tensor/qtensor.h"

namespace nbl {

/// The segment must be valid and outlive the view.
kernels::SegmentView segment_view(const Segment& segment);

/// A codebook's table in int8 steps: values[i] * step is close to table[i]. The step is the one of least squared error
/// among those that use at least half of the int8 range; a table of integers (IQ4_NL, MXFP4 times 2) comes out exact.
struct IntegerTable {
  std::array<int8_t, 16> values{};
  float step = 1.0f;
};
IntegerTable integer_table(const std::array<float, 16>& table);

}  // namespace nbl
