// What must hold before a QTensor is believed: nothing here trusts a size that it has not recomputed.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/bounds.h"
#include "base/checked.h"
#include "tensor/qtensor.h"
#include "tensor/tiles.h"

namespace nbl {
namespace {

// Larger than any weight, small enough that no size computed from it overflows 64 bits.
constexpr BoundOf<int64_t> kMaxDimension{Bound::tensor_dimension};
constexpr BoundOf<int64_t> kMaxElements{Bound::tensor_elements};

Status bad(const std::string& name, std::string what) {
  return Status(Code::corrupt, fmt::format("tensor {}: {}", name, std::move(what)));
}

Status check_storage(const std::string& name, const char* what, const Storage& storage, int64_t expected) {
  if (static_cast<int64_t>(storage.size()) != expected) {
    return bad(name, fmt::format("{} take {} bytes where the shape asks for {}", what, storage.size(), expected));
  }
  if (reinterpret_cast<std::uintptr_t>(storage.data()) % 64 != 0) {
    return bad(name, fmt::format("{} do not start on a 64-byte boundary", what));
  }
  return {};
}

bool known(Encoding encoding) { return encoding <= Encoding::trellis; }

Status check_segment_fields(const std::string& name, const Segment& s) {
  if (!known(s.encoding)) return bad(name, fmt::format("unknown encoding {}", static_cast<int>(s.encoding)));
  if (s.encoding == Encoding::dense) {
    if (s.value_type != DType::f32 && s.value_type != DType::f16 && s.value_type != DType::bf16 &&
        s.value_type != DType::e4m3) {
      return bad(name, fmt::format("dense values cannot be of type {}", dtype_name(s.value_type)));
    }
    if (!s.scaled) return {};
  }
  const bool dense = s.encoding == Encoding::dense;
  const int low = s.encoding == Encoding::codebook ? 4 : 1;
  const int high = s.has_table() ? 4 : 8;
  if (!dense && (s.bits < low || s.bits > high)) {
    return bad(name, fmt::format("codes of {} bits where {} to {} are possible", s.bits, low, high));
  }
  if (s.group_size < 0 || s.group_size % 16 != 0 || s.group_size > kMaxDimension) {
    return bad(name, fmt::format("group size {} is not a multiple of 16", s.group_size));
  }
  if (s.scale_type != DType::f32 && s.scale_type != DType::f16 && s.scale_type != DType::bf16 &&
      s.scale_type != DType::e8m0) {
    return bad(name, fmt::format("scales cannot be of type {}", dtype_name(s.scale_type)));
  }
  if (s.scale_codes && s.scale_type != DType::f32) return bad(name, "quantized scales do not expand to f32");
  if (dense) return {};
  if (s.has_table()) {
    for (const float value : s.table) {
      if (!std::isfinite(value)) return bad(name, "the codebook holds a value that is not finite");
    }
    return {};
  }
  if (s.zero_kind > ZeroKind::real)
    return bad(name, fmt::format("unknown kind of zero {}", static_cast<int>(s.zero_kind)));
  const bool typed = s.zero_kind == ZeroKind::minimum || s.zero_kind == ZeroKind::real;
  if (typed && s.zero_type != DType::f32 && s.zero_type != DType::f16 && s.zero_type != DType::bf16) {
    return bad(name, fmt::format("zeros cannot be of type {}", dtype_name(s.zero_type)));
  }
  if (s.zero_codes && (!typed || s.zero_type != DType::f32)) return bad(name, "quantized zeros do not expand to f32");
  return {};
}

Status check_permutation(const std::string& name, const Storage& order, int64_t k) {
  NBL_TRY(check_storage(name, "the column order", order, 4 * k));
  const auto columns = order.as<int32_t>();
  std::vector<bool> seen(static_cast<std::size_t>(k));
  for (std::size_t p = 0; p < columns.size(); ++p) {
    const int32_t column = columns[p];
    if (column < 0 || column >= k) {
      return bad(name, fmt::format("the column order's entry {} is {}, outside 0 to {}", p, column, k - 1));
    }
    if (seen[static_cast<std::size_t>(column)]) {
      return bad(name, fmt::format("the column order names column {} twice", column));
    }
    seen[static_cast<std::size_t>(column)] = true;
  }
  return {};
}

Status check_outliers(const std::string& name, const QTensor& tensor) {
  const Outliers& o = *tensor.outliers;
  if (o.count < 0 || o.count > tensor.n * tensor.k || o.count > INT32_MAX) {
    return bad(name, fmt::format("{} outliers in a weight of {} x {}", o.count, tensor.n, tensor.k));
  }
  NBL_TRY(check_storage(name, "the outliers' row offsets", o.row_offsets, 4 * (tensor.n + 1)));
  NBL_TRY(check_storage(name, "the outliers' columns", o.columns, 4 * o.count));
  NBL_TRY(check_storage(name, "the outliers' values", o.values, 2 * o.count));
  const auto offsets = o.row_offsets.as<int32_t>();
  if (offsets.front() != 0 || offsets.back() != o.count) {
    return bad(name, fmt::format("the outliers' row offsets run from {} to {}, not from 0 to {}", offsets.front(),
                                 offsets.back(), o.count));
  }
  const auto columns = o.columns.as<int32_t>();
  for (std::size_t r = 0; r + 1 < offsets.size(); ++r) {
    if (offsets[r + 1] < offsets[r]) return bad(name, fmt::format("the outliers' row offsets decrease at row {}", r));
    int32_t last = -1;
    // Both offsets are at most count: they start at 0, do not decrease, and end at count; a later decrease is found
    // there.
    if (offsets[r + 1] > o.count) return bad(name, fmt::format("the outliers of row {} end past the last one", r));
    for (int32_t i = offsets[r]; i < offsets[r + 1]; ++i) {
      const int32_t column = columns[static_cast<std::size_t>(i)];
      if (column <= last || column >= tensor.k) {
        return bad(name, fmt::format("outlier {} of row {} lies in column {} after column {}", i, r, column, last));
      }
      last = column;
    }
  }
  return {};
}

// Kernels multiply the padding columns of dense weights by zero activations; what they hold must not be a NaN.
Status check_dense_padding(const std::string& name, const Segment& s, int64_t n) {
  const int64_t padded = s.column_tiles() * kTileCols;
  if (s.encoding != Encoding::dense || padded == s.k_count) return {};
  const int64_t size = dtype_bytes(s.value_type), tile_bytes = padded * size * kTileRows;
  std::vector<std::byte> row(static_cast<std::size_t>(kTileCols * size));
  const int64_t last = (s.column_tiles() - 1) * kTileCols;
  for (int64_t r = 0; r < n; ++r) {
    const std::byte* tiles = s.codes.data() + r / kTileRows * tile_bytes + last * size * kTileRows;
    unpack_dense_row(size, tiles, r % kTileRows, kTileCols, row.data());
    for (std::size_t i = static_cast<std::size_t>((s.k_count - last) * size); i < row.size(); ++i) {
      if (row[i] != std::byte{0}) return bad(name, fmt::format("row {} has values past its last column", r));
    }
  }
  return {};
}

Status check_finite(const std::string& name, const char* what, DType type, const Storage& storage, int64_t count) {
  constexpr int64_t kChunk = 1024;
  float values[kChunk];
  for (int64_t i = 0; i < count; i += kChunk) {
    const int64_t m = std::min(kChunk, count - i);
    convert_to_f32(type, storage.data() + i * dtype_bytes(type), m, values);
    float sum = 0;  // 0 * x is 0 for a finite x and NaN otherwise
    for (int64_t j = 0; j < m; ++j) sum += 0.0f * values[j];
    if (sum != 0.0f) return bad(name, fmt::format("a {} among entries {} to {} is not finite", what, i, i + m - 1));
  }
  return {};
}

}  // namespace

Status QTensor::validate_structure(const std::string& name) const {
  if (n <= 0 || k <= 0 || n > kMaxDimension || k > kMaxDimension || n > kMaxElements / k) {
    return bad(name, fmt::format("impossible shape [{}, {}]", n, k));
  }
  if (segments.empty()) return bad(name, "no segment");
  int64_t column = 0;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Segment& s = segments[i];
    if (s.k_begin != column || s.k_count <= 0 || s.k_count > k - column) {
      return bad(name, fmt::format("segment {} covers {} columns from {} where column {} of {} was expected", i,
                                   s.k_count, s.k_begin, column, k));
    }
    if (i + 1 < segments.size() && s.k_count % kTileCols != 0) {
      return bad(name, fmt::format("segment {} ends at column {}, not on a tile", i, s.k_begin + s.k_count));
    }
    column += s.k_count;
    NBL_TRY(check_segment_fields(name, s));
    NBL_TRY(check_storage(name, "codes", s.codes, s.code_bytes(n)));
    NBL_TRY(check_storage(name, "scales", s.scales, s.scale_bytes(n)));
    NBL_TRY(check_storage(name, "zeros", s.zeros, s.zero_bytes(n)));
    NBL_TRY(check_dense_padding(name, s, n));
    if (s.scale_codes) NBL_TRY(s.scale_codes->validate(n, s.groups(), "tensor " + name + ": scales"));
    if (s.zero_codes) NBL_TRY(s.zero_codes->validate(n, s.groups(), "tensor " + name + ": zeros"));
  }
  if (column != k) return bad(name, fmt::format("the segments cover {} columns of {}", column, k));
  if (!column_order.empty()) NBL_TRY(check_permutation(name, column_order, k));
  if (!input_scale.empty()) NBL_TRY(check_storage(name, "the input scale", input_scale, 4 * k));
  if (outliers) NBL_TRY(check_outliers(name, *this));
  if (input_rounding) {
    const InputRounding& r = *input_rounding;
    if (r.type > InputRounding::Type::e4m3 || !(r.scale >= 0) || !std::isfinite(r.scale) || !(r.threshold >= 0) ||
        !std::isfinite(r.threshold)) {
      return bad(name, fmt::format("inputs rounded with scale {} and threshold {}", r.scale, r.threshold));
    }
  }
  return {};
}

Status QTensor::validate(const std::string& name) const {
  NBL_TRY(validate_structure(name));
  for (const Segment& s : segments) {
    if (s.encoding == Encoding::dense && !s.scaled) continue;
    const int64_t count = ceil_div(n, kTileRows) * s.groups() * kTileRows;
    NBL_TRY(check_finite(name, "scale", s.scale_type, s.scales, count));
    if (s.encoding == Encoding::affine && (s.zero_kind == ZeroKind::minimum || s.zero_kind == ZeroKind::real)) {
      NBL_TRY(check_finite(name, "zero", s.zero_type, s.zeros, count));
    }
  }
  if (!input_scale.empty()) NBL_TRY(check_finite(name, "input scale", DType::f32, input_scale, k));
  if (outliers) NBL_TRY(check_finite(name, "outlier", DType::f16, outliers->values, outliers->count));
  return {};
}

}  // namespace nbl
