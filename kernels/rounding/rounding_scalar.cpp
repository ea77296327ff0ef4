// The reference, written plainly.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "kernels/rounding/rounding.h"

namespace nbl::kernels::rounding_scalar {
namespace {

/// x rounded to the nearest integer, ties to even; |x| < 2^22.
float round_even(float x) noexcept {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it leaves no bits below the units
  return (x + kMagic) - kMagic;
}

}  // namespace

bool finite(const float* w, int64_t n) {
  bool all = true;
  for (int64_t i = 0; i < n; ++i) all = all && std::isfinite(w[i]);
  return all;
}

void extent(const float* w, int64_t n, float* low, float* high) {
  *low = *high = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (w[i] < *low) *low = w[i];
    if (w[i] > *high) *high = w[i];
  }
}

void affine_codes(const float* w, int64_t n, float scale, float zero, float max_code, uint8_t* codes) {
  for (int64_t i = 0; i < n; ++i) {
    float q = w[i] / scale + zero;
    q = q > 0.0f ? (q < max_code ? q : max_code) : 0.0f;
    codes[i] = static_cast<uint8_t>(round_even(q));
  }
}

void centered_codes(const float* w, int64_t n, float factor, uint8_t* codes) {
  for (int64_t i = 0; i < n; ++i) codes[i] = static_cast<uint8_t>(128.0f + round_even(w[i] * factor));
}

void table_codes(const TableCodesArgs& a) {
  const float inverse = a.scale > 0 ? 1.0f / a.scale : 0.0f;
  for (int64_t i = 0; i < a.n; ++i) {
    const float x = std::isfinite(inverse) ? a.w[i] * inverse : a.w[i] / a.scale;
    int place = 0;
    for (int b = 0; b < 15; ++b) place += x > a.boundaries[b] ? 1 : 0;
    a.codes[i] = static_cast<uint8_t>(a.order[place]);
  }
}

void e4m3_codes(const float* w, int64_t n, float scale, uint8_t* codes) {
  for (int64_t i = 0; i < n; ++i) codes[i] = f32_to_e4m3(std::clamp(w[i] / scale, -448.0f, 448.0f));
}

void squared_error(const float* w, const float* v, const float* importance, int64_t n, double* error, double* reference) {
  for (int64_t first = 0; first < n; first += 1024) {
    float errors[16] = {}, squares[16] = {};
    const int64_t last = std::min(n, first + 1024);
    for (int64_t i = first; i < last; ++i) {
      const float h = importance == nullptr ? 1.0f : importance[i], d = w[i] - v[i];
      errors[(i - first) % 16] += h * (d * d);
      squares[(i - first) % 16] += h * (w[i] * w[i]);
    }
    for (int j = 0; j < 16; ++j) {
      *error += static_cast<double>(errors[j]);
      *reference += static_cast<double>(squares[j]);
    }
  }
}

void widen_bf16(const void* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    uint16_t bits;
    std::memcpy(&bits, static_cast<const uint8_t*>(x) + 2 * i, sizeof(bits));
    out[i] = bf16_to_f32(bits);
  }
}

void widen_e4m3(const uint8_t* codes, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = e4m3_to_f32(codes[i]);
}

void table_values(const uint8_t* codes, int64_t n, float scale, const float* table, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = scale * table[codes[i]];
}

void affine_values(const uint8_t* codes, int64_t n, float scale, float zero, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = scale * (static_cast<float>(codes[i]) - zero);
}

void minimum_values(const uint8_t* codes, int64_t n, float scale, float minimum, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = scale * static_cast<float>(codes[i]) + minimum;
}

}  // namespace nbl::kernels::rounding_scalar
