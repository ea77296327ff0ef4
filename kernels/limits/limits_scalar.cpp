#include "kernels/limits/limits.h"

namespace nbl::kernels {

void limit_read__scalar(LimitArgs* args) noexcept {
  uint64_t sum[4] = {0, 0, 0, 0};
  for (int64_t at = 0; at < args->bytes; at += 32) {
    uint64_t v[4];
    __builtin_memcpy(v, args->data + at, 32);
    for (int j = 0; j < 4; ++j) sum[j] += v[j];
  }
  args->sink = sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
  args->operations = 0;
}

// Multiply, then add: what a processor without fused instructions does.
void limit_f32_fma__scalar(LimitArgs* args) noexcept {
  volatile float source = 1e-3f;
  const float x = source, y = source;
  float acc[16] = {};
  for (int64_t i = 0; i < args->iterations; ++i)
    for (float& v : acc) v = v + x * (y + v);
  float total = 0;
  for (const float v : acc) total += v;
  __builtin_memcpy(&args->sink, &total, 4);
  args->operations = args->iterations * 16 * 3;
}

}  // namespace nbl::kernels
