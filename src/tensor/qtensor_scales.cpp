// Scales beside dense values, scales kept as codes, rounded inputs: the parts of a QTensor that few formats have.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "base/half.h"
#include "tensor/qtensor.h"
#include "tensor/tiles.h"

namespace nbl {
namespace {

/// Values [n, groups], row-major, as a segment keeps its scales: [row tile][group][16] of f32, whole lines.
Result<Storage> tiled(int64_t n, int64_t groups, const std::vector<float>& values) {
  const int64_t count = ceil_div(n, kTileRows) * groups * kTileRows;
  NBL_ASSIGN(Buffer buffer, Buffer::create(static_cast<std::size_t>(round_up(4 * count, 64))));
  float* out = buffer.as<float>().data();
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const float value = values[static_cast<std::size_t>(r * groups + g)];
      if (!std::isfinite(value)) {
        return Status(Code::corrupt, fmt::format("the quantized scale of row {}, group {} expands to {}", r, g, value));
      }
      out[(r / kTileRows * groups + g) * kTileRows + r % kTileRows] = value;
    }
  }
  return Storage::own(std::move(buffer));
}

}  // namespace

Result<Segment> pack_scaled_dense(int64_t n, int64_t k, DType type, const void* src, int64_t group_size,
                                  std::span<const float> scales, DType scale_type) {
  NBL_ASSIGN(Segment segment, pack_dense(n, k, type, src));
  segment.scaled = true;
  segment.group_size = group_size;
  segment.scale_type = scale_type;
  const int64_t groups = segment.groups();
  if (group_size < 0 || group_size % 16 != 0 || static_cast<int64_t>(scales.size()) != n * groups) {
    return Status(Code::invalid_argument,
                  fmt::format("{} scales for {} rows of {} columns in groups of {}", scales.size(), n, k, group_size));
  }
  NBL_ASSIGN(Buffer buffer, Buffer::create(static_cast<std::size_t>(segment.scale_bytes(n))));
  const int64_t size = dtype_bytes(scale_type);
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t slot = (r / kTileRows * groups + g) * kTileRows + r % kTileRows;
      convert_from_f32(&scales[static_cast<std::size_t>(r * groups + g)], 1, scale_type, buffer.data() + slot * size);
    }
  }
  segment.scales = Storage::own(std::move(buffer));
  return segment;
}

Status set_scale_codes(int64_t n, ScaleCodes codes, Segment* segment) {
  NBL_TRY(codes.validate(n, segment->groups(), "quantized scales"));
  NBL_ASSIGN(segment->scales, tiled(n, segment->groups(), codes.expand(n, segment->groups())));
  segment->scale_type = DType::f32;
  segment->scale_codes = std::move(codes);
  return {};
}

Status set_zero_codes(int64_t n, ScaleCodes codes, Segment* segment) {
  NBL_TRY(codes.validate(n, segment->groups(), "quantized zeros"));
  NBL_ASSIGN(segment->zeros, tiled(n, segment->groups(), codes.expand(n, segment->groups())));
  segment->zero_type = DType::f32;
  segment->zero_codes = std::move(codes);
  return {};
}

Result<Segment> without_scales(int64_t n, const Segment& segment) {
  Segment spec;
  spec.k_begin = segment.k_begin;
  spec.k_count = segment.k_count;
  spec.encoding = Encoding::dense;
  spec.value_type = DType::f32;
  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(n, spec));
  const QTensor tensor = make_qtensor(n, segment.k_count, segment);
  const int64_t k = segment.k_count;
  std::vector<float> tile(static_cast<std::size_t>(kTileRows * k));
  for (int64_t t = 0; t < builder.row_tiles(); ++t) {
    for (int64_t r = 0; r < builder.rows(t); ++r) tensor.dequantize_row(t * kTileRows + r, tile.data() + r * k);
    builder.set_dense(t, reinterpret_cast<const std::byte*>(tile.data()), 4 * k);
  }
  return std::move(builder).finish();
}

void InputRounding::apply(float* x, int64_t k) const noexcept {
  const auto kept = [this](float v) { return threshold > 0 && std::fabs(v) >= threshold; };
  float s = scale;
  if (s == 0) {
    float reach = 0;
    for (int64_t i = 0; i < k; ++i) {
      if (!kept(x[i])) reach = std::max(reach, std::fabs(x[i]));
    }
    s = reach / (type == Type::int8 ? 127.0f : 448.0f);
  }
  if (!(s > 0) || !std::isfinite(s)) return;  // all zero, or not finite: as it is
  for (int64_t i = 0; i < k; ++i) {
    if (kept(x[i])) {
      x[i] = f16_to_f32(f32_to_f16(std::clamp(x[i], -65504.0f, 65504.0f)));
    } else if (type == Type::int8) {
      x[i] = s * std::clamp(std::nearbyint(x[i] / s), -127.0f, 127.0f);
    } else {
      const float q = std::clamp(x[i] / s, -448.0f, 448.0f);
      uint8_t stored = 0;
      float value = q;
      convert_from_f32(&q, 1, DType::e4m3, &stored);
      convert_to_f32(DType::e4m3, &stored, 1, &value);
      x[i] = s * value;
    }
  }
}

}  // namespace nbl
