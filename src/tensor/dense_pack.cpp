#include "tensor/dense_pack.h"

#include <atomic>
#include <new>
#include <vector>

#include "tensor/tiles.h"

namespace nbl {

Result<Segment> pack_dense_rows(Team& team, int64_t n, int64_t k, DType type,
                                FunctionRef<void(int64_t row, int64_t count, float* out)> read) {
  Segment spec;
  spec.k_count = k;
  spec.encoding = Encoding::dense;
  spec.value_type = type;
  const int64_t size = dtype_bytes(type);
  NBL_ASSIGN(SegmentBuilder builder, SegmentBuilder::create(n, spec));
  std::atomic<bool> exhausted{false};
  team.parallel_for(builder.row_tiles(), 1, [&](int64_t begin, int64_t end) {
    try {
      std::vector<float> rows(static_cast<std::size_t>(kTileRows * k));
      std::vector<std::byte> rounded(type == DType::f32 ? 0 : rows.size() * static_cast<std::size_t>(size));
      for (int64_t tile = begin; tile < end; ++tile) {
        const int64_t count = builder.rows(tile);
        read(tile * kTileRows, count, rows.data());
        if (type == DType::f32) {
          builder.set_dense(tile, reinterpret_cast<const std::byte*>(rows.data()), k * size);
          continue;
        }
        convert_from_f32(rows.data(), count * k, type, rounded.data());
        builder.set_dense(tile, rounded.data(), k * size);
      }
    } catch (const std::bad_alloc&) {
      exhausted = true;
    }
  });
  if (exhausted) return Status(Code::out_of_memory, "memory is exhausted");
  return std::move(builder).finish();
}

}  // namespace nbl
