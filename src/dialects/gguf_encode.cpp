#include "dialects/gguf_encode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/checked.h"
#include "dialects/common.h"
#include "dialects/gguf_blocks.h"
#include "dialects/gguf_encode_blocks.h"
#include "dialects/recode.h"
#include "io/gguf_types.h"
#include "tensor/tiles.h"

namespace nbl::dialects {
namespace {

Status no(std::string why) { return Status(Code::unsupported, "gguf cannot hold " + std::move(why)); }

// A weight cut into a block type's groups: what its encoder is fed with.
struct Parts {
  int64_t groups = 0;                // a row
  std::vector<float> scales, zeros;  // [n, groups]
  std::optional<AffineView> view;    // codes of affine weights; a codebook's are the tensor's own
};

std::optional<Parts> affine_parts(const QTensor& tensor, const GgufBlock& block) {
  AffineTarget target;
  target.bits = {block.bits};
  target.groups = {block.group == tensor.k ? 0 : block.group};
  target.zeros = {block.zero_kind};
  target.scale_types = {block.scale_type};
  target.zero_types = {block.zero_type};
  target.recenter = true;
  auto view = recode_affine(tensor, target, "gguf");
  if (!view.ok()) return std::nullopt;
  Parts parts{view->groups, view->scales, view->zeros, std::nullopt};
  parts.view = std::move(view).value();
  return parts;
}

std::optional<Parts> codebook_parts(const QTensor& tensor, const GgufBlock& block) {
  const Segment& s = tensor.segments.front();
  if (s.encoding != Encoding::codebook || !std::equal(s.table.begin(), s.table.end(), block.table)) return std::nullopt;
  const int64_t own = s.group_size == 0 ? tensor.k : s.group_size;
  if (own % block.group != 0) return std::nullopt;
  Parts parts;
  parts.groups = tensor.k / block.group;
  for (int64_t row = 0; row < tensor.n; ++row) {
    for (int64_t g = 0; g < parts.groups; ++g) parts.scales.push_back(scale_at(s, row, g * block.group / own));
  }
  // Scales that are stored as they are must be exact; the others are factored or looked up by the encoder.
  if (block.scale_type == DType::f16 && block.type != "NVFP4" && !exact_in(DType::f16, parts.scales)) {
    return std::nullopt;
  }
  return parts;
}

std::optional<GgufRows> encode_blocks(const QTensor& tensor, const GgufBlock& block, const GgufBlockEncoder& encoder) {
  const io::GgufType& type = *io::gguf_type(block.type);
  if (tensor.k % type.block != 0) return std::nullopt;
  const auto parts =
      block.encoding == Encoding::affine ? affine_parts(tensor, block) : codebook_parts(tensor, block);
  if (!parts) return std::nullopt;
  GgufRows rows;
  rows.type = type.name;
  rows.row_bytes = tensor.k / type.block * type.block_bytes;
  rows.data.resize(static_cast<std::size_t>(tensor.n * rows.row_bytes));
  std::vector<uint8_t> codes(static_cast<std::size_t>(tensor.k));
  const int64_t groups = type.block / block.group;
  for (int64_t row = 0; row < tensor.n; ++row) {
    if (parts->view) {
      parts->view->codes(row, codes.data());
    } else {
      tensor.unpack_row_codes(row, codes.data());
    }
    auto* out = reinterpret_cast<uint8_t*>(rows.data.data()) + row * rows.row_bytes;
    for (int64_t b = 0; b < tensor.k / type.block; ++b) {
      const int64_t first = row * parts->groups + b * groups;
      const float* zeros = parts->zeros.empty() ? nullptr : parts->zeros.data() + first;
      if (!encoder.encode(codes.data() + b * type.block, parts->scales.data() + first, zeros,
                          out + b * type.block_bytes)) {
        return std::nullopt;
      }
    }
  }
  return rows;
}

Result<GgufRows> encode_dense(const QTensor& tensor) {
  // Values with scales are products in float32.
  const DType own = tensor.segments.front().scaled ? DType::f32 : tensor.segments.front().value_type;
  // GGUF has no e4m3; every one of its values is a bf16.
  const DType stored = own == DType::e4m3 ? DType::bf16 : own;
  GgufRows rows;
  rows.type = stored == DType::f32 ? "F32" : stored == DType::f16 ? "F16" : "BF16";
  rows.row_bytes = tensor.k * dtype_bytes(stored);
  rows.data.resize(static_cast<std::size_t>(tensor.n * rows.row_bytes));
  if (own == stored) {
    NBL_ASSIGN(const Array array, to_array(tensor));
    std::memcpy(rows.data.data(), array.storage.data(), rows.data.size());
    return rows;
  }
  std::vector<float> row(static_cast<std::size_t>(tensor.k));
  for (int64_t r = 0; r < tensor.n; ++r) {
    tensor.dequantize_row(r, row.data());
    convert_from_f32(row.data(), tensor.k, stored, rows.data.data() + r * rows.row_bytes);
  }
  return rows;
}

}  // namespace

std::vector<std::string_view> gguf_writable_types() {
  std::vector<std::string_view> names;
  for (const GgufBlockEncoder& encoder : gguf_block_encoders()) names.push_back(encoder.type);
  for (const char* plain : {"F16", "BF16", "F32"}) names.emplace_back(plain);
  return names;
}

Result<GgufRows> gguf_encode(const QTensor& tensor, std::string_view type) {
  if (tensor.outliers) return no("outliers; the native format can");
  if (!tensor.input_scale.empty()) return no("an input scale; the native format can");
  if (tensor.input_rounding) return no("rounded inputs; the native format can");
  if (!tensor.column_order.empty()) return no("reordered columns (act-order); gptq can");
  if (tensor.segments.size() != 1) return no("columns of different encodings in one weight; the native format can");
  const Segment& s = tensor.segments.front();
  if (s.encoding == Encoding::dense) return encode_dense(tensor);
  for (const GgufBlockEncoder& encoder : gguf_block_encoders()) {
    if (!type.empty() && encoder.type != type) continue;
    const GgufBlock& block = *gguf_block(encoder.type);
    if (block.encoding != s.encoding) continue;
    if (auto rows = encode_blocks(tensor, block, encoder)) return std::move(*rows);
  }
  if (tensor.k % 32 != 0) {
    return no(fmt::format("rows of {} columns in blocks: its block types take 32 or 256 at a time; the native format can",
                          tensor.k));
  }
  return no(fmt::format("{} in any of its block types without changing a value; the native format can",
                        tensor.description()));
}

}  // namespace nbl::dialects
