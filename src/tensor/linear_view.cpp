#include "tensor/linear_view.h"

#include <algorithm>
#include <cmath>

namespace nbl {
namespace {

kernels::Number number_of(DType type) noexcept {
  switch (type) {
    case DType::f16:
      return kernels::Number::f16;
    case DType::bf16:
      return kernels::Number::bf16;
    case DType::e4m3:
      return kernels::Number::e4m3;
    case DType::e8m0:
      return kernels::Number::e8m0;
    default:
      return kernels::Number::f32;
  }
}

}  // namespace

IntegerTable integer_table(const std::array<float, 16>& table) {
  IntegerTable best;
  double largest = 0;
  for (const float t : table) largest = std::max(largest, std::fabs(static_cast<double>(t)));
  if (!(largest > 0) || !std::isfinite(largest)) return best;
  double best_error = -1;
  // 127 / n for the largest entry's integer 127, 126, ... 64, and quarters between.
  for (int top = 4 * 127; top >= 4 * 64; --top) {
    const double step = largest / (static_cast<double>(top) / 4);
    double error = 0;
    for (const float t : table) {
      const double q = std::nearbyint(static_cast<double>(t) / step);
      error += (q * step - t) * (q * step - t);
    }
    if (best_error < 0 || error < best_error) {
      best_error = error;
      best.step = static_cast<float>(step);
    }
  }
  for (std::size_t i = 0; i < table.size(); ++i) {
    const double q = std::nearbyint(static_cast<double>(table[i]) / static_cast<double>(best.step));
    best.values[i] = static_cast<int8_t>(std::clamp(q, -127.0, 127.0));
  }
  return best;
}

kernels::SegmentView segment_view(const Segment& segment) {
  kernels::SegmentView v;
  const auto bytes = [](const Storage& s) { return reinterpret_cast<const uint8_t*>(s.data()); };
  v.codes = bytes(segment.codes);
  v.scales = bytes(segment.scales);
  v.zeros = bytes(segment.zeros);
  v.k_count = segment.k_count;
  v.column_tiles = segment.column_tiles();
  v.bits = segment.bits;
  v.scale_type = number_of(segment.scale_type);
  v.zero_type = number_of(segment.zero_type);
  v.value_type = number_of(segment.value_type);
  switch (segment.encoding) {
    case Encoding::affine:
      v.kind = kernels::WeightKind::affine;
      break;
    case Encoding::codebook:
      v.kind = kernels::WeightKind::codebook;
      break;
    case Encoding::trellis:
      v.kind = kernels::WeightKind::trellis;
      break;
    case Encoding::dense:
      v.kind = kernels::WeightKind::dense;
      break;
  }
  switch (segment.zero_kind) {
    case ZeroKind::symmetric:
      v.zero = kernels::ZeroPoint::symmetric;
      break;
    case ZeroKind::code:
      v.zero = kernels::ZeroPoint::code;
      break;
    case ZeroKind::minimum:
      v.zero = kernels::ZeroPoint::minimum;
      break;
    case ZeroKind::real:
      v.zero = kernels::ZeroPoint::real;
      break;
  }
  v.groups = std::max<int64_t>(1, segment.groups());
  v.group_size = segment.group_size;
  if (v.groups == 1 || v.group_size == 0) v.group_size = std::max<int64_t>(v.column_tiles * kTileCols, kTileCols);
  if (v.has_table()) {
    std::copy(segment.table.begin(), segment.table.end(), v.table);
    const IntegerTable t = integer_table(segment.table);
    std::copy(t.values.begin(), t.values.end(), v.table_i8);
    v.table_step = t.step;
  }
  return v;
}

}  // namespace nbl
