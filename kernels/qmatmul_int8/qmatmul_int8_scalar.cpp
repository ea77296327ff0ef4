// The reference: the documented arithmetic, written plainly. It shares no code with the vector variants.
#include <cmath>

#include "kernels/qmatmul_int8/qmatmul_int8.h"
#include "kernels/simd/reference.h"

namespace nbl::kernels {

namespace {
constexpr int64_t kBlock = 64;  // activation rows that share the unpacked codes
}

void qmatmul_int8__scalar(const QmatmulInt8Args* args) noexcept {
  const QmatmulInt8Args& a = *args;
  const SegmentView& w = a.w;
  const bool codebook = w.has_table();
  for (int64_t tile = a.tile_begin; tile < a.tile_end; ++tile) {
    for (int64_t r = 0; r < kRows && tile * kRows + r < a.n; ++r) {
      const int64_t row = tile * kRows + r;
      for (int64_t i0 = 0; i0 < a.m; i0 += kBlock) {
        const int64_t block = a.m - i0 < kBlock ? a.m - i0 : kBlock;
        float total[kBlock];
        for (int64_t i = 0; i < block; ++i) total[i] = a.bias != nullptr && !a.accumulate ? a.bias[row] : 0.0f;
        for (int64_t k0 = 0; k0 < w.k_count; k0 += a.step) {
          const int64_t group = k0 / w.group_size;
          const int64_t at = k0 / a.step * a.m + i0;
          const float s = codebook ? scale_at(w, tile, r, group) * w.table_step : scale_at(w, tile, r, group);
          const float z = codebook ? 128.0f : zero_at(w, tile, r, group);
          const bool integer_zero = codebook || w.zero == ZeroPoint::symmetric || w.zero == ZeroPoint::code;
          int code[128];
          const int64_t count = w.k_count - k0 < a.step ? w.k_count - k0 : a.step;
          for (int64_t k = 0; k < count; ++k) {
            code[k] = code_at(w, tile, r, k0 + k);
            if (codebook) code[k] = table_byte_at(w, code[k]) + 128;
          }
          for (int64_t i = 0; i < block; ++i) {
            int sum = 0;
            for (int64_t k = k0; k < k0 + count; ++k)
              sum += code[k - k0] * a.x[(k / kCols * a.m + i0 + i) * kCols + k % kCols];
            float t = static_cast<float>(sum);
            if (integer_zero) t = std::fma(-z, a.sums[at + i], t);
            total[i] = std::fma(t, s * a.d[at + i], total[i]);
            if (!integer_zero)
              total[i] = std::fma(w.zero == ZeroPoint::minimum ? z : 0.0f - s * z, a.dsums[at + i], total[i]);
          }
        }
        for (int64_t i = 0; i < block; ++i) {
          float& y = a.y[(i0 + i) * a.ldy + row];
          y = a.accumulate ? y + total[i] : total[i];
        }
      }
    }
  }
}

}  // namespace nbl::kernels
