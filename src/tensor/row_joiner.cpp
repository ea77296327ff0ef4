#include "tensor/row_joiner.h"

#include <cstring>

#include "base/checked.h"

namespace nbl {
namespace {

bool plain(const QTensor& t) noexcept {
  return t.segments.size() == 1 && t.column_order.empty() && t.input_scale.empty() && !t.outliers &&
         !t.segments.front().scale_codes && !t.segments.front().zero_codes;
}

bool alike(const Segment& a, const Segment& b) noexcept {
  return a.k_begin == b.k_begin && a.k_count == b.k_count && a.encoding == b.encoding && a.bits == b.bits &&
         a.group_size == b.group_size && a.scale_type == b.scale_type && a.zero_kind == b.zero_kind && a.zero_type == b.zero_type &&
         a.value_type == b.value_type && a.scaled == b.scaled && a.table == b.table;
}

/// Bytes of a row tile in each of a segment's arrays.
struct TileBytes {
  int64_t codes = 0, scales = 0, zeros = 0;
};

TileBytes tile_bytes(const Segment& s) noexcept {
  TileBytes t;
  const int64_t groups = s.groups();
  t.codes = s.encoding == Encoding::dense ? s.column_tiles() * kTileCols * dtype_bytes(s.value_type) * kTileRows
                                          : s.column_tiles() * 128 * s.bits;
  t.scales = groups * kTileRows * dtype_bytes(s.scale_type);
  if (s.encoding == Encoding::affine && s.zero_kind != ZeroKind::symmetric)
    t.zeros = groups * (s.zero_kind == ZeroKind::code ? 2 * s.bits : kTileRows * dtype_bytes(s.zero_type));
  return t;
}

}  // namespace

Result<Buffer> SpareBuffers::take(std::size_t bytes) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto it = kept_.begin(); it != kept_.end(); ++it) {
      if (it->size() != bytes) continue;
      Buffer found = std::move(*it);
      kept_.erase(it);
      bytes_ -= bytes;
      return found;
    }
  }
  return Buffer::create(bytes);
}

void SpareBuffers::give(Buffer buffer) {
  constexpr std::size_t kMost = std::size_t{64} << 20;
  if (buffer.size() == 0 || buffer.size() > kMost) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (; bytes_ + buffer.size() > kMost; kept_.erase(kept_.begin())) bytes_ -= kept_.front().size();
  bytes_ += buffer.size();
  kept_.push_back(std::move(buffer));
}

Result<RowJoiner> RowJoiner::create(int64_t n, const QTensor& part, SpareBuffers* spare) {
  if (!plain(part)) return Status(Code::unsupported, "rows of this encoding cannot be joined");
  RowJoiner joiner;
  joiner.tensor_ = part;
  joiner.tensor_.n = n;
  Segment& s = joiner.tensor_.segments.front();
  s.codes = s.scales = s.zeros = {};
  const std::size_t codes = static_cast<std::size_t>(s.code_bytes(n));
  NBL_ASSIGN(joiner.codes_, spare != nullptr ? spare->take(codes) : Buffer::create(codes));
  NBL_ASSIGN(joiner.scales_, Buffer::create(static_cast<std::size_t>(s.scale_bytes(n))));
  NBL_ASSIGN(joiner.zeros_, Buffer::create(static_cast<std::size_t>(s.zero_bytes(n))));
  return joiner;
}

bool RowJoiner::put(int64_t row, const QTensor& part) noexcept {
  if (!plain(part) || part.k != tensor_.k || !(part.input_rounding == tensor_.input_rounding)) return false;
  const Segment &from = part.segments.front(), &to = tensor_.segments.front();
  if (!alike(from, to) || row < 0 || row % kTileRows != 0 || row + part.n > tensor_.n) return false;
  if (part.n % kTileRows != 0 && row + part.n != tensor_.n) return false;
  const TileBytes each = tile_bytes(to);
  const int64_t first = row / kTileRows, tiles = ceil_div(part.n, kTileRows);
  const auto copy = [&](Buffer& buffer, const Storage& storage, int64_t bytes) {
    if (bytes > 0) std::memcpy(buffer.data() + first * bytes, storage.data(), static_cast<std::size_t>(tiles * bytes));
  };
  copy(codes_, from.codes, each.codes);
  copy(scales_, from.scales, each.scales);
  copy(zeros_, from.zeros, each.zeros);
  return true;
}

QTensor RowJoiner::finish() && {
  Segment& s = tensor_.segments.front();
  s.codes = Storage::own(std::move(codes_));
  s.scales = Storage::own(std::move(scales_));
  s.zeros = Storage::own(std::move(zeros_));
  return std::move(tensor_);
}

}  // namespace nbl
