#include "dialects/ct_float.h"

#include <fmt/format.h>

#include <vector>

#include "base/checked.h"
#include "dialects/recode.h"
#include "tensor/tiles.h"

namespace nbl::dialects {

bool is_scaled_fp8(const QTensor& t) noexcept {
  return t.segments.size() == 1 && t.segments[0].encoding == Encoding::dense && t.segments[0].scaled &&
         t.segments[0].value_type == DType::e4m3 && t.column_order.empty() && t.input_scale.empty() && !t.outliers &&
         !t.input_rounding;
}

Result<std::string> fp8_strategy(const QTensor& t) {
  const Segment& s = t.segments.front();
  if (s.groups() == 1) return std::string("channel");
  bool blocks = s.group_size == kFp8Block;
  for (int64_t row = 0; row < t.n && blocks; ++row) {
    for (int64_t g = 0; g < s.groups() && blocks; ++g) {
      blocks = scale_at(s, row, g) == scale_at(s, row / kFp8Block * kFp8Block, g);
    }
  }
  if (blocks) return std::string("block");
  return Status(Code::unsupported,
                fmt::format("compressed-tensors cannot hold e4m3 with scales a row and {} columns; the native format can",
                            s.group_size));
}

Status pack_fp8(const std::string& module, const QTensor& t, const std::string& strategy, io::TensorSpool& spool) {
  const Segment& s = t.segments.front();
  std::vector<std::byte> values(static_cast<std::size_t>(t.n * t.k));
  const int64_t tile_bytes = s.column_tiles() * kTileCols * kTileRows;
  for (int64_t row = 0; row < t.n; ++row) {
    unpack_dense_row(1, s.codes.data() + row / kTileRows * tile_bytes, row % kTileRows, t.k, values.data() + row * t.k);
  }
  const int64_t step = strategy == "block" ? kFp8Block : 1;
  std::vector<float> scales;
  for (int64_t row = 0; row < t.n; row += step) {
    for (int64_t g = 0; g < s.groups(); ++g) scales.push_back(scale_at(s, row, g));
  }
  NBL_TRY(spool.add(module + ".weight", "F8_E4M3", {t.n, t.k}, values));
  return spool.add(module + ".weight_scale", "F32", {ceil_div(t.n, step), s.groups()}, std::as_bytes(std::span(scales)));
}

Json fp8_weights_config(const std::string& strategy) {
  Json weights = Json::object();
  weights.set("num_bits", 8);
  weights.set("type", "float");
  weights.set("symmetric", true);
  weights.set("strategy", strategy);
  weights.set("group_size", Json());
  Json block = Json::array();
  block.push_back(kFp8Block);
  block.push_back(kFp8Block);
  weights.set("block_structure", strategy == "block" ? std::move(block) : Json());
  weights.set("dynamic", false);
  weights.set("actorder", Json());
  return weights;
}

}  // namespace nbl::dialects
