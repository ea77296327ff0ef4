// The reference, written plainly.
#include <cmath>

#include "base/half.h"
#include "kernels/prepare_input/prepare_input.h"

namespace nbl::kernels {

void prepare_input__scalar(const PrepareInputArgs* args) noexcept {
  const PrepareInputArgs& a = *args;
  const auto value = [&](int64_t p) {
    if (p >= a.k) return 0.0f;
    const int64_t c = a.order != nullptr ? a.order[p] : p;
    return a.scale != nullptr ? a.x[c] * a.scale[c] : a.x[c];
  };
  if (a.f32 != nullptr)
    for (int64_t p = a.begin; p < a.end; ++p) a.f32[p] = value(p);
  if (a.bf16 != nullptr)
    for (int64_t p = a.begin; p < a.end; ++p) a.bf16[p / 32 * a.bf16_stride + p % 32] = f32_to_bf16(value(p));
  if (a.q == nullptr) return;
  for (int64_t p0 = a.begin; p0 < a.end; p0 += a.step) {
    const int64_t p1 = p0 + a.step < a.end ? p0 + a.step : a.end;
    float largest = 0;
    for (int64_t p = p0; p < p1; ++p) {
      const float v = std::fabs(value(p));
      if (v > largest || std::isnan(v)) largest = v;
      if (std::isnan(largest)) break;
    }
    const bool usual = largest >= 1e-35f && std::isfinite(largest);
    const float inverse = 127.0f / largest;
    int32_t sum = 0, low_sum = 0;
    for (int64_t p = p0; p < p1; ++p) {
      const float scaled = value(p) * inverse;
      const int32_t q = usual ? static_cast<int32_t>(std::nearbyintf(scaled)) : 0;
      int8_t* const out = a.q + p / 64 * a.q_stride + p % 64;
      *out = static_cast<int8_t>(q);
      sum += q;
      if (a.low_plane == 0) continue;
      const int32_t low = usual ? static_cast<int32_t>(std::nearbyintf((scaled - static_cast<float>(q)) * 254.0f)) : 0;
      out[a.low_plane] = static_cast<int8_t>(low);
      low_sum += low;
    }
    const auto store_scale = [&](int64_t at, float d, int32_t total) {
      a.d[at] = d;
      a.sums[at] = static_cast<float>(total);
      a.dsums[at] = d * static_cast<float>(total);
    };
    const int64_t at = p0 / a.step * a.d_stride;
    const float d = usual ? largest / 127.0f : largest < 1e-35f ? 0.0f : largest;
    store_scale(at, d, sum);
    if (a.low_plane != 0) store_scale(at + a.low_scales, usual ? d / 254.0f : 0.0f, low_sum);
  }
}

}  // namespace nbl::kernels
