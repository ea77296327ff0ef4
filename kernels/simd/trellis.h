// The code of trellis-coded weights (Encoding::trellis in src/tensor/qtensor.h), plainly.
//
// A row's 64 columns of a column tile are 64 steps of a path. Step s is column s / 8 + 8 (s % 8): the order in which the bits
// of a plane of one bit lie in a row's two 32-bit words. Each step stores a path bit u and b - 1 free bits; its code has b + 1
// bits: the free ones above two labels that the path gives,
//
//   label 1 = u[s] + u[s-1] + u[s-6]    label 0 = u[s-2] + u[s-4]    (modulo 2; u is 0 before the tile)
//
// which is the rate-1/2 code of 64 states for amplitude modulation of Ungerboeck (Channel coding with multilevel/phase signals,
// 1982: parity check polynomials 103 and 024 octal), used for quantization as Marcellin and Fischer do (Trellis coded
// quantization, 1990): from any state codes of one label 0 can follow, so that a weight picks among half of all codes, and the
// path picks which half.
#pragma once

#include <cstdint>

namespace nbl::kernels {

inline constexpr int kTrellisMemory = 6;
inline constexpr int kTrellisStates = 1 << kTrellisMemory;

inline constexpr int64_t kTrellisSteps = 64;
constexpr int64_t trellis_column(int64_t step) noexcept { return step / 8 + 8 * (step % 8); }

/// What a code means: 16 values, of 4 stored bits those of the upper half of the codes, whose mirror image the lower half is.
constexpr float trellis_value(const float* table, int bits, int code) noexcept {
  return bits < 4 ? table[code] : code < 16 ? -table[15 - code] : table[code - 16];
}

/// The path bits of a row as one number, step s at bit s, to the labels of all steps.
struct TrellisLabels {
  uint64_t one, zero;
};
constexpr TrellisLabels trellis_labels(uint64_t path) noexcept {
  return {path ^ path << 1 ^ path << 6, path << 2 ^ path << 4};
}

/// The path bit of a step that is to have this label 1, after a path whose step s - d is at bit d - 1 of `state`.
constexpr uint32_t trellis_bit(uint32_t state, uint32_t label1) noexcept { return label1 ^ (state & 1u) ^ (state >> 5 & 1u); }
/// The label 0 that the next step has whatever its path bit.
constexpr uint32_t trellis_label0(uint32_t state) noexcept { return (state >> 1 ^ state >> 3) & 1u; }
constexpr uint32_t trellis_label1(uint32_t state, uint32_t bit) noexcept { return trellis_bit(state, bit); }
constexpr uint32_t trellis_next(uint32_t state, uint32_t bit) noexcept { return (state << 1 | bit) & (kTrellisStates - 1u); }

}  // namespace nbl::kernels
