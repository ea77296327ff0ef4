#include "dialects/fp8_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/checked.h"
#include "dialects/common.h"
#include "io/safetensors_types.h"
#include "tensor/tiles.h"

namespace nbl::dialects {
namespace {

// How many weights one scale covers, down and across.
struct Cover {
  int64_t rows = 1, columns = 1, scales_across = 1;
};

Result<Cover> cover_of(const io::RawTensor& weight, const io::RawTensor& scale, int64_t block_rows,
                       int64_t block_columns) {
  if (weight.type != "F8_E4M3" || weight.shape.size() != 2 || weight.shape[0] <= 0 || weight.shape[1] <= 0) {
    return unexpected_shape(weight, "F8_E4M3 of [n, k]");
  }
  const int64_t n = weight.shape[0], k = weight.shape[1];
  const auto type = io::safetensors_dtype(scale.type);
  const bool floats = type == DType::f32 || type == DType::f16 || type == DType::bf16;
  NBL_ASSIGN(const int64_t count, element_count(scale.shape));
  if (floats && count == 1) return Cover{n, k, 1};
  if (block_rows > 0 && block_columns > 0) {
    const int64_t down = ceil_div(n, block_rows), across = ceil_div(k, block_columns);
    if (floats && scale.shape == Shape{down, across}) return Cover{block_rows, block_columns, across};
    return unexpected_shape(
        scale, fmt::format("floats of [{}, {}] for blocks of {} x {}", down, across, block_rows, block_columns));
  }
  const bool rows = scale.shape.size() == 1 || scale.shape.size() == 2;
  if (!floats || !rows || scale.shape[0] != n)
    return unexpected_shape(scale, fmt::format("floats of [1], [{}, 1] or [{}, groups]", n, n));
  const int64_t across = scale.shape.size() == 2 ? scale.shape[1] : 1;
  if (across <= 0 || k % across != 0)
    return unexpected_shape(scale, fmt::format("[{}, groups] with whole groups of {} columns", n, k));
  return Cover{1, k / across, across};
}

}  // namespace

Status check_fp8(const io::RawTensor& weight, const io::RawTensor& scale, int64_t block_rows, int64_t block_columns) {
  return cover_of(weight, scale, block_rows, block_columns).status();
}

Result<QTensor> fp8_matrix(const io::RawTensor& weight, const io::RawTensor& scale, int64_t block_rows,
                           int64_t block_columns) {
  NBL_ASSIGN(const Cover cover, cover_of(weight, scale, block_rows, block_columns));
  NBL_ASSIGN(const Array array, io::to_array(scale));
  NBL_ASSIGN(const std::vector<float> scales, array.to_f32());
  const int64_t n = weight.shape[0], k = weight.shape[1];
  const auto* codes = reinterpret_cast<const uint8_t*>(weight.bytes.data());
  for (int64_t i = 0; i < n; ++i) {
    const float* line = scales.data() + i / cover.rows * cover.scales_across;
    for (int64_t c = 0; c < k; ++c) {
      // The largest value, 448, times the scale must be a number too.
      if ((codes[i * k + c] & 0x7f) != 0x7f && std::isfinite(line[c / cover.columns] * 448.0f)) continue;
      return Status(Code::corrupt, fmt::format("{}: tensor {} has a value that is not finite in row {}, column {}",
                                               weight.file, shown(weight.name), i, c));
    }
  }
  const bool one = cover.columns >= k;
  if (one || cover.columns % 16 == 0) {  // the values and their scales, as they are
    const int64_t across = one ? 1 : ceil_div(k, cover.columns);
    std::vector<float> spread(static_cast<std::size_t>(n * across));
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t g = 0; g < across; ++g) {
        spread[static_cast<std::size_t>(i * across + g)] =
            scales[static_cast<std::size_t>(i / cover.rows * cover.scales_across + g)];
      }
    }
    NBL_ASSIGN(Segment segment, pack_scaled_dense(n, k, DType::e4m3, weight.bytes.data(), one ? 0 : cover.columns, spread,
                                                  array.dtype));
    return make_qtensor(n, k, std::move(segment));
  }
  Segment spec;
  spec.k_count = k;
  spec.encoding = Encoding::dense;
  spec.value_type = DType::f32;
  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(n, spec));
  std::vector<float> rows(static_cast<std::size_t>(kTileRows * k));
  for (int64_t t = 0; t < builder.row_tiles(); ++t) {
    for (int64_t r = 0; r < builder.rows(t); ++r) {
      const int64_t i = t * kTileRows + r;
      float* row = rows.data() + r * k;
      convert_to_f32(DType::e4m3, weight.bytes.data() + i * k, k, row);
      const float* line = scales.data() + i / cover.rows * cover.scales_across;
      for (int64_t c = 0; c < k; ++c) row[c] *= line[c / cover.columns];
    }
    builder.set_dense(t, reinterpret_cast<const std::byte*>(rows.data()), 4 * k);
  }
  return make_qtensor(n, k, std::move(builder).finish());
}

}  // namespace nbl::dialects
