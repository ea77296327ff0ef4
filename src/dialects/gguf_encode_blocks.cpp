#include "dialects/gguf_encode_blocks.h"

#include <cmath>
#include <cstring>

#include "base/half.h"

namespace nbl::dialects {
namespace {

void put_half(uint8_t* p, float value) noexcept {
  const uint16_t bits = f32_to_f16(value);
  std::memcpy(p, &bits, 2);
}
void put_bits(uint8_t* p, uint16_t bits) noexcept { std::memcpy(p, &bits, 2); }

void put_nibbles(const uint8_t* codes, uint8_t* qs) noexcept {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<uint8_t>((codes[j] & 15) | (codes[j + 16] & 15) << 4);
}

void put_fifth_bits(const uint8_t* codes, uint8_t* qh) noexcept {
  uint32_t high = 0;
  for (int e = 0; e < 32; ++e) high |= static_cast<uint32_t>(codes[e] >> 4 & 1) << e;
  std::memcpy(qh, &high, 4);
}

bool q4_0(const uint8_t* codes, const float* scales, const float*, uint8_t* b) {
  put_half(b, scales[0]);
  put_nibbles(codes, b + 2);
  return true;
}
bool q4_1(const uint8_t* codes, const float* scales, const float* zeros, uint8_t* b) {
  put_half(b, scales[0]);
  put_half(b + 2, zeros[0]);
  put_nibbles(codes, b + 4);
  return true;
}
bool q5_0(const uint8_t* codes, const float* scales, const float*, uint8_t* b) {
  put_half(b, scales[0]);
  put_fifth_bits(codes, b + 2);
  put_nibbles(codes, b + 6);
  return true;
}
bool q5_1(const uint8_t* codes, const float* scales, const float* zeros, uint8_t* b) {
  put_half(b, scales[0]);
  put_half(b + 2, zeros[0]);
  put_fifth_bits(codes, b + 4);
  put_nibbles(codes, b + 8);
  return true;
}
bool q8_0(const uint8_t* codes, const float* scales, const float*, uint8_t* b) {
  put_half(b, scales[0]);
  for (int e = 0; e < 32; ++e) b[2 + e] = codes[e] ^ 0x80;
  return true;
}

// The factors of scales and of negated minimums, both unsigned.
bool factor_pair(const float* scales, const float* zeros, int count, int high, uint16_t* d, uint16_t* dmin, int* sc,
                 int* m) noexcept {
  float minimums[16];
  for (int i = 0; i < count; ++i) minimums[i] = -zeros[i];
  const auto n = static_cast<std::size_t>(count);
  return factor_scales({scales, n}, 0, high, d, sc) && factor_scales({minimums, n}, 0, high, dmin, m);
}

bool q2_k(const uint8_t* codes, const float* scales, const float* zeros, uint8_t* b) {
  uint16_t d, dmin;
  int sc[16], m[16];
  if (!factor_pair(scales, zeros, 16, 15, &d, &dmin, sc, m)) return false;
  for (int g = 0; g < 16; ++g) b[g] = static_cast<uint8_t>(sc[g] | m[g] << 4);
  uint8_t* qs = b + 16;
  for (int e = 0; e < 256; ++e) {
    const int n = e / 128, j = e % 128 / 32, l = e % 32;
    qs[32 * n + l] = static_cast<uint8_t>(qs[32 * n + l] | (codes[e] & 3) << (2 * j));
  }
  put_bits(b + 80, d);
  put_bits(b + 82, dmin);
  return true;
}
bool q3_k(const uint8_t* codes, const float* scales, const float*, uint8_t* b) {
  uint16_t d;
  int sc[16];
  if (!factor_scales({scales, 16}, -32, 31, &d, sc)) return false;
  uint8_t *hmask = b, *qs = b + 32, *packed = b + 96;
  for (int s = 0; s < 16; ++s) {
    const int value = sc[s] + 32;
    uint8_t& low = packed[s % 8];
    low = static_cast<uint8_t>(low | (value & 15) << (s < 8 ? 0 : 4));
    uint8_t& high = packed[8 + s % 4];
    high = static_cast<uint8_t>(high | (value >> 4) << (2 * (s / 4)));
  }
  for (int e = 0; e < 256; ++e) {
    const int n = e / 128, j = e % 128 / 32, l = e % 32;
    qs[32 * n + l] = static_cast<uint8_t>(qs[32 * n + l] | (codes[e] & 3) << (2 * j));
    hmask[l] = static_cast<uint8_t>(hmask[l] | (codes[e] >> 2 & 1) << (4 * n + j));
  }
  put_bits(b + 108, d);
  return true;
}
// The twelve bytes that hold eight 6-bit scales and minimums.
void put_scale_min(const int* sc, const int* m, uint8_t* s) noexcept {
  for (int j = 0; j < 4; ++j) {
    s[j] = static_cast<uint8_t>(sc[j] | sc[j + 4] >> 4 << 6);
    s[j + 4] = static_cast<uint8_t>(m[j] | m[j + 4] >> 4 << 6);
    s[j + 8] = static_cast<uint8_t>((sc[j + 4] & 15) | (m[j + 4] & 15) << 4);
  }
}
bool q4_k(const uint8_t* codes, const float* scales, const float* zeros, uint8_t* b) {
  uint16_t d, dmin;
  int sc[8], m[8];
  if (!factor_pair(scales, zeros, 8, 63, &d, &dmin, sc, m)) return false;
  put_bits(b, d);
  put_bits(b + 2, dmin);
  put_scale_min(sc, m, b + 4);
  for (int j = 0; j < 4; ++j) {
    for (int l = 0; l < 32; ++l) {
      b[16 + 32 * j + l] = static_cast<uint8_t>((codes[64 * j + l] & 15) | (codes[64 * j + 32 + l] & 15) << 4);
    }
  }
  return true;
}
bool q5_k(const uint8_t* codes, const float* scales, const float* zeros, uint8_t* b) {
  uint16_t d, dmin;
  int sc[8], m[8];
  if (!factor_pair(scales, zeros, 8, 63, &d, &dmin, sc, m)) return false;
  put_bits(b, d);
  put_bits(b + 2, dmin);
  put_scale_min(sc, m, b + 4);
  uint8_t *qh = b + 16, *qs = b + 48;
  for (int j = 0; j < 8; ++j) {
    for (int l = 0; l < 32; ++l) {
      const uint8_t code = codes[32 * j + l];
      uint8_t& low = qs[32 * (j / 2) + l];
      low = static_cast<uint8_t>(low | (code & 15) << (4 * (j % 2)));
      qh[l] = static_cast<uint8_t>(qh[l] | (code >> 4 & 1) << j);
    }
  }
  return true;
}
bool q6_k(const uint8_t* codes, const float* scales, const float*, uint8_t* b) {
  uint16_t d;
  int sc[16];
  if (!factor_scales({scales, 16}, -128, 127, &d, sc)) return false;
  uint8_t *ql = b, *qh = b + 128;
  for (int e = 0; e < 256; ++e) {
    const int n = e / 128, t = e % 128 / 32, l = e % 32;
    uint8_t& low = ql[64 * n + l + 32 * (t & 1)];
    low = static_cast<uint8_t>(low | (codes[e] & 15) << (t < 2 ? 0 : 4));
    qh[32 * n + l] = static_cast<uint8_t>(qh[32 * n + l] | (codes[e] >> 4 & 3) << (2 * t));
  }
  for (int s = 0; s < 16; ++s) b[192 + s] = static_cast<uint8_t>(static_cast<int8_t>(sc[s]));
  put_bits(b + 208, d);
  return true;
}
bool iq4_xs(const uint8_t* codes, const float* scales, const float*, uint8_t* b) {
  uint16_t d;
  int ls[8];
  if (!factor_scales({scales, 8}, -32, 31, &d, ls)) return false;
  put_bits(b, d);
  int high = 0;
  for (int ib = 0; ib < 8; ++ib) {
    const int value = ls[ib] + 32;
    high |= value >> 4 << (2 * ib);
    b[4 + ib / 2] = static_cast<uint8_t>(b[4 + ib / 2] | (value & 15) << (4 * (ib % 2)));
    put_nibbles(codes + 32 * ib, b + 8 + 16 * ib);
  }
  put_bits(b + 2, static_cast<uint16_t>(high));
  return true;
}
bool mxfp4(const uint8_t* codes, const float* scales, const float*, uint8_t* b) {
  for (int e = 0; e < 255; ++e) {
    if (e8m0_to_f32(static_cast<uint8_t>(e)) != scales[0]) continue;
    b[0] = static_cast<uint8_t>(e);
    put_nibbles(codes, b + 1);
    return true;
  }
  return false;
}
bool nvfp4(const uint8_t* codes, const float* scales, const float*, uint8_t* b) {
  for (int s = 0; s < 4; ++s) {
    const uint8_t bits = f32_to_e4m3(scales[s]);
    if (!(scales[s] >= 0) || bits == 0x7f || e4m3_to_f32(bits) != scales[s]) return false;
    b[s] = bits;
    for (int j = 0; j < 8; ++j) {
      b[4 + 8 * s + j] = static_cast<uint8_t>((codes[16 * s + j] & 15) | (codes[16 * s + 8 + j] & 15) << 4);
    }
  }
  return true;
}

// Ternary types: the zero point is 1 everywhere.
bool middle_zeros(const float* zeros) noexcept { return zeros[0] == 1; }

// A base-3 number of five digits as a fraction of 256, so that digits come out by multiplication.
uint8_t trits(const uint8_t* digits, int count, int stride) noexcept {
  int value = 0;
  for (int i = 0; i < 5; ++i) value = 3 * value + (i < count ? digits[i * stride] : 0);
  return static_cast<uint8_t>((value * 256 + 242) / 243);
}
bool tq1_0(const uint8_t* codes, const float* scales, const float* zeros, uint8_t* b) {
  if (!middle_zeros(zeros)) return false;
  for (int e = 0; e < 256; ++e) {
    if (codes[e] > 2) return false;
  }
  for (int m = 0; m < 32; ++m) b[m] = trits(codes + m, 5, 32);
  for (int m = 0; m < 16; ++m) b[32 + m] = trits(codes + 160 + m, 5, 16);
  for (int j = 0; j < 4; ++j) b[48 + j] = trits(codes + 240 + j, 4, 4);
  put_half(b + 52, scales[0]);
  return true;
}
bool tq2_0(const uint8_t* codes, const float* scales, const float* zeros, uint8_t* b) {
  if (!middle_zeros(zeros)) return false;
  for (int g = 0; g < 2; ++g) {
    for (int l = 0; l < 4; ++l) {
      for (int m = 0; m < 32; ++m) {
        b[32 * g + m] = static_cast<uint8_t>(b[32 * g + m] | (codes[128 * g + 32 * l + m] & 3) << (2 * l));
      }
    }
  }
  put_half(b + 64, scales[0]);
  return true;
}

constexpr GgufBlockEncoder kEncoders[] = {
    {"TQ1_0", tq1_0}, {"TQ2_0", tq2_0},   {"Q2_K", q2_k},     {"Q3_K", q3_k},   {"MXFP4", mxfp4}, {"IQ4_XS", iq4_xs},
    {"Q4_0", q4_0},   {"Q4_K", q4_k},     {"IQ4_NL", q4_0},   {"NVFP4", nvfp4}, {"Q4_1", q4_1},   {"Q5_0", q5_0},
    {"Q5_K", q5_k},   {"Q5_1", q5_1},     {"Q6_K", q6_k},     {"Q8_0", q8_0},
};

}  // namespace

std::span<const GgufBlockEncoder> gguf_block_encoders() noexcept { return kEncoders; }

bool factor_scales(std::span<const float> values, int low, int high, uint16_t* d, int* integers) noexcept {
  std::size_t largest = 0;
  for (std::size_t i = 1; i < values.size(); ++i) {
    if (std::fabs(values[i]) > std::fabs(values[largest])) largest = i;
  }
  const auto most = static_cast<double>(values[largest]);
  if (most == 0) {
    *d = 0;
    for (std::size_t i = 0; i < values.size(); ++i) integers[i] = 0;
    return true;
  }
  // The largest scale had one of these integers. Large ones first: quantizers use the whole range.
  const int reach = std::max(high, -low);
  for (int magnitude = reach; magnitude >= 1; --magnitude) {
    for (const int integer : {-magnitude, magnitude}) {
      if (integer < low || integer > high) continue;
      const uint16_t bits = f32_to_f16(static_cast<float>(most / integer));
      const auto unit = static_cast<double>(f16_to_f32(bits));
      if (unit * integer != most) continue;
      bool all = true;
      for (std::size_t i = 0; i < values.size() && all; ++i) {
        const double ratio = static_cast<double>(values[i]) / unit;
        const double whole = std::nearbyint(ratio);
        all = whole >= low && whole <= high && whole * unit == static_cast<double>(values[i]);
        if (all) integers[i] = static_cast<int>(whole);
      }
      if (!all) continue;
      *d = bits;
      return true;
    }
  }
  return false;
}

}  // namespace nbl::dialects
