// Row-major parts into packed segments. Arguments are checked here: they come from methods and from foreign files.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "tensor/qtensor.h"
#include "tensor/tiles.h"

namespace nbl {
namespace {

Status check_sizes(int64_t n, int64_t k, std::size_t codes, std::size_t scales, int64_t groups) {
  int64_t count = 0;
  if (n <= 0 || k <= 0 || !checked_mul(n, k, &count)) {
    return Status(Code::invalid_argument, fmt::format("a weight of {} x {} cannot be packed", n, k));
  }
  if (static_cast<int64_t>(codes) != count || static_cast<int64_t>(scales) != n * groups) {
    return Status(Code::invalid_argument,
                  fmt::format("a weight of {} x {} in {} groups a row came with {} codes and {} scales", n, k, groups,
                              codes, scales));
  }
  return {};
}

Status check_group(int64_t group_size) {
  if (group_size >= 0 && group_size % 16 == 0) return {};
  return Status(Code::invalid_argument, fmt::format("group size {} is not a multiple of 16", group_size));
}

bool is_scale_type(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16 || type == DType::e8m0;
}

Status check_representable(std::span<const float> values, DType type, const char* what) {
  constexpr std::size_t kRun = 256;
  std::byte stored[kRun * sizeof(float)];
  float back[kRun];
  for (std::size_t first = 0; first < values.size(); first += kRun) {
    const auto run = values.subspan(first, std::min(kRun, values.size() - first));
    const auto count = static_cast<int64_t>(run.size());
    convert_from_f32(run.data(), count, type, stored);
    convert_to_f32(type, stored, count, back);
    for (std::size_t i = 0; i < run.size(); ++i) {
      if (std::isfinite(run[i]) && back[i] == run[i]) continue;
      return Status(Code::invalid_argument, fmt::format("{} {} of a packed weight is {}, which {} cannot hold", what, first + i, run[i],
                                                        dtype_name(type)));
    }
  }
  return {};
}

Status check_codes(std::span<const uint8_t> codes, int bits) {
  uint8_t all = 0;
  for (const uint8_t code : codes) all |= code;
  if (all >> bits == 0) return {};
  return Status(Code::invalid_argument, fmt::format("a code of a packed weight does not fit {} bits", bits));
}

// Codes and scales; the builder's segment says where they go. What set_codes() says of them.
bool fill(SegmentBuilder& builder, int64_t n, int64_t k, std::span<const uint8_t> codes,
          std::span<const float> scales) {
  const int64_t groups = builder.spec().groups();
  bool paths = true;
  for (int64_t t = 0; t < builder.row_tiles(); ++t)
    paths = builder.set_codes(t, codes.data() + t * kTileRows * k, k) && paths;
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t g = 0; g < groups; ++g) builder.set_scale(row, g, scales[static_cast<std::size_t>(row * groups + g)]);
  }
  return paths;
}

// Parts of a codebook or a trellis, whose spec says which.
template <class Parts>
Result<Segment> pack_with_table(int64_t n, int64_t k, const Parts& parts, Segment spec) {
  spec.k_count = k;
  spec.group_size = parts.group_size;
  spec.scale_type = parts.scale_type;
  spec.table = parts.table;
  NBL_TRY(check_group(parts.group_size));
  NBL_TRY(check_sizes(n, k, parts.codes.size(), parts.scales.size(), spec.groups()));
  NBL_TRY(check_codes(parts.codes, spec.code_bits()));
  if (!is_scale_type(parts.scale_type)) {
    return Status(Code::invalid_argument, fmt::format("scales cannot be of type {}", dtype_name(parts.scale_type)));
  }
  NBL_TRY(check_representable(parts.scales, parts.scale_type, "scale"));
  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(n, spec));
  if (!fill(builder, n, k, parts.codes, parts.scales))
    return Status(Code::invalid_argument, "the codes of a row are no path of the trellis");
  return std::move(builder).finish();
}

}  // namespace

Result<Segment> pack_affine(int64_t n, int64_t k, const AffineParts& parts) {
  Segment spec;
  spec.k_count = k;
  spec.encoding = Encoding::affine;
  spec.bits = parts.bits;
  spec.group_size = parts.group_size;
  spec.scale_type = parts.scale_type;
  spec.zero_kind = parts.zero_kind;
  spec.zero_type = parts.zero_type;
  if (parts.bits < 1 || parts.bits > 8) {
    return Status(Code::invalid_argument, fmt::format("codes of {} bits cannot be packed; 1 to 8 can", parts.bits));
  }
  NBL_TRY(check_group(parts.group_size));
  NBL_TRY(check_sizes(n, k, parts.codes.size(), parts.scales.size(), spec.groups()));
  NBL_TRY(check_codes(parts.codes, parts.bits));
  if (!is_scale_type(parts.scale_type)) {
    return Status(Code::invalid_argument, fmt::format("scales cannot be of type {}", dtype_name(parts.scale_type)));
  }
  NBL_TRY(check_representable(parts.scales, parts.scale_type, "scale"));
  const bool symmetric = parts.zero_kind == ZeroKind::symmetric;
  if (parts.zeros.size() != (symmetric ? 0 : parts.scales.size())) {
    return Status(Code::invalid_argument, fmt::format("a packed weight of {} scales came with {} zeros",
                                                      parts.scales.size(), parts.zeros.size()));
  }
  if (parts.zero_kind == ZeroKind::code) {
    for (const float zero : parts.zeros) {
      if (!(zero >= 0 && zero < static_cast<float>(1 << parts.bits) && zero == std::floor(zero))) {
        return Status(Code::invalid_argument, fmt::format("zero point {} is not a code of {} bits", zero, parts.bits));
      }
    }
  } else if (!symmetric) {
    if (!is_scale_type(parts.zero_type) || parts.zero_type == DType::e8m0) {
      return Status(Code::invalid_argument, fmt::format("zeros cannot be of type {}", dtype_name(parts.zero_type)));
    }
    NBL_TRY(check_representable(parts.zeros, parts.zero_type, "zero"));
  }

  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(n, spec));
  fill(builder, n, k, parts.codes, parts.scales);
  if (!symmetric) {
    const int64_t groups = spec.groups();
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t g = 0; g < groups; ++g) {
        const float zero = parts.zeros[static_cast<std::size_t>(row * groups + g)];
        if (parts.zero_kind == ZeroKind::code) {
          builder.set_zero_code(row, g, static_cast<uint32_t>(zero));
        } else {
          builder.set_zero(row, g, zero);
        }
      }
    }
  }
  return std::move(builder).finish();
}

Result<Segment> pack_codebook(int64_t n, int64_t k, const CodebookParts& parts) {
  Segment spec;
  spec.encoding = Encoding::codebook;
  spec.bits = 4;
  return pack_with_table(n, k, parts, std::move(spec));
}

Result<Segment> pack_trellis(int64_t n, int64_t k, const TrellisParts& parts) {
  if (parts.bits < 1 || parts.bits > 4) {
    return Status(Code::invalid_argument, fmt::format("trellis codes of {} bits cannot be packed; 1 to 4 can", parts.bits));
  }
  Segment spec;
  spec.encoding = Encoding::trellis;
  spec.bits = parts.bits;
  return pack_with_table(n, k, parts, std::move(spec));
}

Result<Segment> pack_dense(int64_t n, int64_t k, DType type, const void* src) {
  if (type != DType::f32 && type != DType::f16 && type != DType::bf16 && type != DType::e4m3) {
    return Status(Code::invalid_argument, fmt::format("a dense weight cannot be of type {}", dtype_name(type)));
  }
  int64_t bytes = 0;
  if (n <= 0 || k <= 0 || !checked_mul(n, k, &bytes) || !checked_mul(bytes, 4, &bytes)) {
    return Status(Code::invalid_argument, fmt::format("a weight of {} x {} cannot be packed", n, k));
  }
  Segment spec;
  spec.k_count = k;
  spec.encoding = Encoding::dense;
  spec.value_type = type;
  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(n, spec));
  const int64_t row_bytes = k * dtype_bytes(type);
  const auto* rows = static_cast<const std::byte*>(src);
  for (int64_t t = 0; t < builder.row_tiles(); ++t) builder.set_dense(t, rows + t * kTileRows * row_bytes, row_bytes);
  return std::move(builder).finish();
}

}  // namespace nbl
