// Single elements of a segment, read as QTensor's definition says: what the scalar references are made of.
#pragma once

#include "base/half.h"
#include "kernels/simd/segment_view.h"
#include "kernels/simd/trellis.h"

namespace nbl::kernels {

inline float number_at(Number type, const uint8_t* p, int64_t i) noexcept {
  uint16_t h;
  float f;
  switch (type) {
    case Number::f16:
      __builtin_memcpy(&h, p + 2 * i, 2);
      return f16_to_f32(h);
    case Number::bf16:
      __builtin_memcpy(&h, p + 2 * i, 2);
      return bf16_to_f32(h);
    case Number::e4m3:
      return e4m3_to_f32(p[i]);
    case Number::e8m0:
      return e8m0_to_f32(p[i]);
    default:
      __builtin_memcpy(&f, p + 4 * i, 4);
      return f;
  }
}

/// The code of `row` of a trellis-coded tile at its column `column`.
inline int trellis_code_at(int bits, const uint8_t* tile, int64_t row, int64_t column) noexcept {
  uint32_t state = 0;
  for (int64_t s = 0;; ++s) {
    const int64_t c = trellis_column(s);
    const uint32_t u = tile[c % 8 / 4 * 64 + row * 4 + c % 4] >> (c / 8) & 1u;
    if (c == column) {
      int free = 0, shift = 0;
      const uint8_t* plane = tile + 128;
      for (const int width : {2, 1}) {
        if (((bits - 1) & width) == 0) continue;
        const int64_t k1 = c % (8 * width);
        free |= (plane[k1 / 4 * 64 + row * 4 + k1 % 4] >> (width * (c / (8 * width))) & ((1 << width) - 1)) << shift;
        plane += 128 * width;
        shift += width;
      }
      return free << 2 | static_cast<int>(trellis_label1(state, u) << 1 | trellis_label0(state));
    }
    state = trellis_next(state, u);
  }
}

/// The code of `row` (0..15) of a row tile at column k.
inline int code_at(const SegmentView& w, int64_t tile, int64_t row, int64_t k) noexcept {
  const uint8_t* p = w.codes + (tile * w.column_tiles + k / kCols) * w.tile_code_bytes();
  const int64_t kk = k % kCols;
  if (w.kind == WeightKind::trellis) return trellis_code_at(w.bits, p, row, kk);
  int code = 0;
  int shift = 0;
  const auto plane = [&](int width) {
    const int64_t k1 = kk % (8 * width);
    const int field = p[k1 / 4 * 64 + row * 4 + k1 % 4] >> (width * (kk / (8 * width)));
    code |= (field & ((1 << width) - 1)) << shift;
    p += 128 * width;
    shift += width;
  };
  if (w.bits == 8) {
    plane(8);
    return code;
  }
  // Planes lie low bits first: 3 = 2+1, 5 = 4+1, 6 = 4+2, 7 = 4+2+1.
  if (w.bits & 4) plane(4);
  if (w.bits & 2) plane(2);
  if (w.bits & 1) plane(1);
  return code;
}

/// What a code of a codebook or a trellis means to integer products.
inline int table_byte_at(const SegmentView& w, int code) noexcept {
  const bool halved = w.kind == WeightKind::trellis && w.bits == 4;
  return !halved ? w.table_i8[code] : code < 16 ? -w.table_i8[15 - code] : w.table_i8[code - 16];
}

inline float coded_number_at(const NumberCodes& c, const uint8_t* p, int64_t row, int64_t group) noexcept {
  return c.supers[(group >> c.group_bits) * 16 + row] * (static_cast<float>(p[group * 16 + row]) - c.offset);
}

inline float scale_at(const SegmentView& w, int64_t tile, int64_t row, int64_t group) noexcept {
  if (w.scale_codes.supers != nullptr) return coded_number_at(w.scale_codes, w.scales, row, tile * w.groups + group);
  return number_at(w.scale_type, w.scales + (tile * w.groups + group) * 16 * number_bytes(w.scale_type), row);
}

/// The zero point as a float: a code (2^(bits-1) when symmetric), a minimum or a real zero.
inline float zero_at(const SegmentView& w, int64_t tile, int64_t row, int64_t group) noexcept {
  if (w.zero == ZeroPoint::symmetric) return static_cast<float>(1 << (w.bits - 1));
  const uint8_t* zeros = w.zeros + (tile * w.groups + group) * w.zero_group_bytes();
  if (w.zero_codes.supers != nullptr) return coded_number_at(w.zero_codes, w.zeros, row, tile * w.groups + group);
  if (w.zero != ZeroPoint::code) return number_at(w.zero_type, zeros, row);
  int z = 0;
  for (int b = 0; b < w.bits; ++b) {
    const int64_t at = row * w.bits + b;
    z |= (zeros[at / 8] >> (at % 8) & 1) << b;
  }
  return static_cast<float>(z);
}

}  // namespace nbl::kernels
