// The reference: QTensor's definition and the documented order of additions, written plainly. It shares no code with
// the vector variants.
#include <cmath>

#include "kernels/qmatmul_exact/qmatmul_exact.h"
#include "kernels/simd/reference.h"

namespace nbl::kernels {

namespace {

float weight_at(const SegmentView& w, int64_t tile, int64_t row, int64_t k) {
  if (w.kind == WeightKind::dense) {
    const int64_t unit = 4 / number_bytes(w.value_type);
    const uint8_t* line = w.codes + tile * w.column_tiles * w.tile_code_bytes() + k / unit * 64;
    return number_at(w.value_type, line, row * unit + k % unit);
  }
  const int64_t group = k / w.group_size;
  const int code = code_at(w, tile, row, k);
  const float s = scale_at(w, tile, row, group);
  if (w.kind == WeightKind::codebook) return s * w.table[code];
  if (w.kind == WeightKind::trellis) return s * trellis_value(w.table, w.bits, code);
  const float q = static_cast<float>(code);
  const float z = zero_at(w, tile, row, group);
  if (w.zero == ZeroPoint::minimum) {
    const float product = s * q;
    return product + z;
  }
  return s * (q - z);
}

}  // namespace

void qmatmul_exact__scalar(const QmatmulExactArgs* args) noexcept {
  const QmatmulExactArgs& a = *args;
  const int64_t columns = (a.w.k_count + 15) / 16 * 16;
  for (int64_t tile = a.tile_begin; tile < a.tile_end; ++tile) {
    for (int64_t r = 0; r < kRows && tile * kRows + r < a.n; ++r) {
      const int64_t row = tile * kRows + r;
      for (int64_t i = 0; i < a.m; ++i)
        if (!a.accumulate) a.y[i * a.ldy + row] = a.bias != nullptr ? a.bias[row] : 0.0f;
      for (int64_t k0 = 0; k0 < columns; k0 += kExactBlock) {
        const int64_t count = columns - k0 < kExactBlock ? columns - k0 : kExactBlock;
        float w[kExactBlock];
        for (int64_t k = 0; k < count; ++k) w[k] = weight_at(a.w, tile, r, k0 + k);
        for (int64_t i = 0; i < a.m; ++i) {
          const float* x = a.x + i * a.ldx + k0;
          float sum[4] = {0, 0, 0, 0};
          for (int64_t k = 0; k < count; ++k) sum[k % 4] = std::fma(w[k], x[k], sum[k % 4]);
          float& y = a.y[i * a.ldy + row];
          y = y + ((sum[0] + sum[1]) + (sum[2] + sum[3]));
        }
      }
    }
  }
}

}  // namespace nbl::kernels
