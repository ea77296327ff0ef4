#include "tensor/qtensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/cpu.h"
#include "kernels/rounding/rounding.h"
#include "kernels/simd/trellis.h"
#include "tensor/tiles.h"

namespace nbl {
namespace {

constexpr int64_t kLine = 64;

float load_value(DType type, const std::byte* p) noexcept {
  float value;
  if (type == DType::f32) {
    std::memcpy(&value, p, sizeof(value));
    return value;
  }
  convert_to_f32(type, p, 1, &value);
  return value;
}

uint32_t load_zero_code(const std::byte* stream, int64_t position, int bits) noexcept {
  const int64_t byte = position / 8;
  uint32_t two = static_cast<uint32_t>(stream[byte]);
  if (position % 8 + bits > 8) two |= static_cast<uint32_t>(stream[byte + 1]) << 8;
  return (two >> (position % 8)) & ((1u << bits) - 1u);
}

// Storage a Segment takes when nothing is padded, in bits.
int64_t unpadded_bits(const Segment& segment, int64_t n) noexcept {
  const int64_t groups = n * segment.groups();
  const int64_t scale_bits = segment.scale_codes ? segment.scale_codes->stored_bits(n, segment.groups())
                                                 : 8 * groups * dtype_bytes(segment.scale_type);
  if (segment.encoding == Encoding::dense) {
    return 8 * n * segment.k_count * dtype_bytes(segment.value_type) + (segment.scaled ? scale_bits : 0);
  }
  int64_t bits = n * segment.k_count * segment.bits + scale_bits;
  if (segment.encoding == Encoding::affine) {
    if (segment.zero_kind == ZeroKind::code) bits += groups * segment.bits;
    if (segment.zero_kind == ZeroKind::minimum || segment.zero_kind == ZeroKind::real) {
      bits += segment.zero_codes ? segment.zero_codes->stored_bits(n, segment.groups())
                                 : 8 * groups * dtype_bytes(segment.zero_type);
    }
  }
  return bits;
}

const char* zero_kind_name(ZeroKind kind) noexcept {
  switch (kind) {
    case ZeroKind::symmetric:
      return "sym";
    case ZeroKind::code:
      return "asym";
    case ZeroKind::minimum:
      return "min";
    case ZeroKind::real:
      return "real";
  }
  return "?";
}

/// "6 bit x f16 / 8" for codes of 6 bits with a super-scale for 8 of them.
std::string describe(const ScaleCodes& codes) {
  const std::string type = dtype_name(codes.super_type);
  if (codes.bits == 0) return fmt::format("{} / {}x{}", type, codes.rows, codes.groups);
  return fmt::format("{} bit x {} / {}", codes.bits, type, std::max<int64_t>(1, codes.rows) * codes.groups);
}

std::string describe(const Segment& segment) {
  const std::string group = segment.group_size == 0 ? "row" : fmt::format("g{}", segment.group_size);
  const std::string scale = segment.scale_codes ? describe(*segment.scale_codes) : dtype_name(segment.scale_type);
  if (segment.encoding == Encoding::dense) {
    const std::string type = dtype_name(segment.value_type);
    return segment.scaled ? fmt::format("dense {} {} {}", type, group, scale) : "dense " + type;
  }
  if (segment.has_table()) {
    return fmt::format("{} {} bit {} {}", segment.encoding == Encoding::trellis ? "trellis" : "codebook", segment.bits, group, scale);
  }
  std::string text =
      fmt::format("affine {} bit {} {} {}", segment.bits, group, scale, zero_kind_name(segment.zero_kind));
  const bool typed = segment.zero_kind == ZeroKind::minimum || segment.zero_kind == ZeroKind::real;
  if (typed && segment.zero_codes) {
    text += " " + describe(*segment.zero_codes);
  } else if (typed && segment.zero_type != segment.scale_type) {
    text += fmt::format(" {}", dtype_name(segment.zero_type));
  }
  return text;
}

// A row's codes of a segment that has any.
void unpack_codes(const Segment& s, int64_t row, uint8_t* out) noexcept {
  const std::byte* tiles = s.codes.data() + row / kTileRows * s.column_tiles() * 128 * s.bits;
  if (s.encoding == Encoding::trellis) {
    unpack_trellis_row(s.bits, tiles, row % kTileRows, s.k_count, out);
  } else {
    unpack_code_row(s.bits, tiles, row % kTileRows, s.k_count, out);
  }
}

// One row of one segment in packed order. `codes` is work space for the segment's columns.
void dequantize_segment_row(const Segment& s, int64_t row, uint8_t* codes, float* out) {
  const int64_t tile = row / kTileRows, r = row % kTileRows;
  const kernels::RoundingKernels& kernel = kernels::rounding_kernels(best_isa());
  if (s.encoding == Encoding::dense) {
    const int64_t size = dtype_bytes(s.value_type);
    const std::byte* tiles = s.codes.data() + tile * s.column_tiles() * kTileCols * size * kTileRows;
    if (s.value_type == DType::e4m3) {
      unpack_dense_row(1, tiles, r, s.k_count, reinterpret_cast<std::byte*>(codes));
      kernel.widen_e4m3(codes, s.k_count, out);
    } else {
      for (int64_t c = 0; c < s.k_count; c += kTileCols) {
        std::byte elements[kTileCols * 4];
        const int64_t count = std::min(kTileCols, s.k_count - c);
        unpack_dense_row(size, tiles + c * size * kTileRows, r, count, elements);
        convert_to_f32(s.value_type, elements, count, out + c);
      }
    }
    if (!s.scaled) return;
    const int64_t groups = s.groups(), group_size = s.group_size == 0 ? s.k_count : s.group_size;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t slot = (tile * groups + g) * kTileRows + r;
      const float scale = load_value(s.scale_type, s.scales.data() + slot * dtype_bytes(s.scale_type));
      const int64_t begin = g * group_size, end = std::min(begin + group_size, s.k_count);
      for (int64_t c = begin; c < end; ++c) out[c] *= scale;
    }
    return;
  }
  unpack_codes(s, row, codes);
  const int64_t groups = s.groups();
  const int64_t group_size = s.group_size == 0 ? s.k_count : s.group_size;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t slot = tile * groups + g;
    const float scale = load_value(s.scale_type, s.scales.data() + (slot * kTileRows + r) * dtype_bytes(s.scale_type));
    const int64_t begin = g * group_size, count = std::min(group_size, s.k_count - begin);
    if (s.encoding == Encoding::trellis) {
      for (int64_t c = begin; c < begin + count; ++c) out[c] = scale * kernels::trellis_value(s.table.data(), s.bits, codes[c]);
    } else if (s.encoding == Encoding::codebook) {
      kernel.table_values(codes + begin, count, scale, s.table.data(), out + begin);
    } else if (s.zero_kind == ZeroKind::symmetric || s.zero_kind == ZeroKind::code) {
      const int zero = s.zero_kind == ZeroKind::symmetric
                           ? 1 << (s.bits - 1)
                           : static_cast<int>(load_zero_code(s.zeros.data() + slot * 2 * s.bits, r * s.bits, s.bits));
      kernel.affine_values(codes + begin, count, scale, static_cast<float>(zero), out + begin);
    } else {
      const float zero = load_value(s.zero_type, s.zeros.data() + (slot * kTileRows + r) * dtype_bytes(s.zero_type));
      (s.zero_kind == ZeroKind::minimum ? kernel.minimum_values : kernel.affine_values)(codes + begin, count, scale, zero, out + begin);
    }
  }
}

}  // namespace

int64_t Segment::groups() const noexcept {
  if (encoding == Encoding::dense && !scaled) return 0;
  return group_size == 0 ? 1 : ceil_div(k_count, group_size);
}

int64_t Segment::column_tiles() const noexcept { return ceil_div(k_count, kTileCols); }

int64_t Segment::code_bytes(int64_t n) const noexcept {
  const int64_t row_tiles = ceil_div(n, kTileRows);
  if (encoding == Encoding::dense) return row_tiles * kTileRows * column_tiles() * kTileCols * dtype_bytes(value_type);
  return row_tiles * column_tiles() * 128 * bits;
}

int64_t Segment::scale_bytes(int64_t n) const noexcept {
  return round_up(ceil_div(n, kTileRows) * groups() * kTileRows * dtype_bytes(scale_type), kLine);
}

int64_t Segment::zero_bytes(int64_t n) const noexcept {
  if (encoding != Encoding::affine || zero_kind == ZeroKind::symmetric) return 0;
  const int64_t slots = ceil_div(n, kTileRows) * groups();
  const int64_t each = zero_kind == ZeroKind::code ? 2 * bits : kTileRows * dtype_bytes(zero_type);
  return round_up(slots * each, kLine);
}

void QTensor::dequantize_row(int64_t row, float* out) const {
  std::vector<std::byte> scratch(static_cast<std::size_t>(row_scratch_bytes()));
  dequantize_row(row, out, scratch.data());
}

int64_t QTensor::row_scratch_bytes() const noexcept { return (column_order.empty() ? 0 : 4 * k) + k; }

void QTensor::dequantize_row(int64_t row, float* out, std::byte* scratch) const noexcept {
  float* packed = column_order.empty() ? out : reinterpret_cast<float*>(scratch);
  uint8_t* codes = reinterpret_cast<uint8_t*>(scratch) + (column_order.empty() ? 0 : 4 * k);
  for (const Segment& s : segments) dequantize_segment_row(s, row, codes, packed + s.k_begin);
  if (!column_order.empty()) {
    const auto order = column_order.as<int32_t>();
    for (int64_t p = 0; p < k; ++p) out[order[static_cast<std::size_t>(p)]] = packed[p];
  }
  if (outliers) {
    const auto offsets = outliers->row_offsets.as<int32_t>();
    const auto columns = outliers->columns.as<int32_t>();
    const std::size_t begin = static_cast<std::size_t>(offsets[static_cast<std::size_t>(row)]);
    const std::size_t end = static_cast<std::size_t>(offsets[static_cast<std::size_t>(row) + 1]);
    for (std::size_t i = begin; i < end; ++i) {
      out[columns[i]] += load_value(DType::f16, outliers->values.data() + 2 * i);
    }
  }
}

void QTensor::unpack_row_codes(int64_t row, uint8_t* out) const {
  for (const Segment& s : segments) {
    if (s.encoding == Encoding::dense) {
      std::memset(out + s.k_begin, 0, static_cast<std::size_t>(s.k_count));
    } else {
      unpack_codes(s, row, out + s.k_begin);
    }
  }
}

int64_t QTensor::stored_bytes() const noexcept {
  int64_t bytes = 0;
  for (const Segment& s : segments) bytes += ceil_div(unpadded_bits(s, n), 8);
  if (!column_order.empty()) bytes += 4 * k;
  if (!input_scale.empty()) bytes += 4 * k;
  if (outliers) bytes += 4 * (n + 1) + 6 * outliers->count;
  return bytes;
}

double QTensor::bits_per_weight() const noexcept {
  if (n == 0 || k == 0) return 0;
  return 8.0 * static_cast<double>(stored_bytes()) / (static_cast<double>(n) * static_cast<double>(k));
}

std::string QTensor::description() const {
  std::string text;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (i != 0) text += " + ";
    text += describe(segments[i]);
    if (segments.size() > 1) text += fmt::format(" x{}", segments[i].k_count);
  }
  if (!column_order.empty()) text += ", reordered";
  if (!input_scale.empty()) text += ", input scale";
  if (input_rounding) {
    text += input_rounding->type == InputRounding::Type::int8 ? ", int8 input" : ", e4m3 input";
  }
  if (outliers) text += fmt::format(", {} outliers", outliers->count);
  return text;
}

QTensor make_qtensor(int64_t n, int64_t k, Segment segment) {
  QTensor tensor;
  tensor.n = n;
  tensor.k = k;
  segment.k_begin = 0;
  segment.k_count = k;
  tensor.segments.push_back(std::move(segment));
  return tensor;
}

}  // namespace nbl
