// Scales for small blocks of weights, each error weighed by how much its input counts: the searches behind K-quants and other
// two-level encodings.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "quant/codebook4.h"

namespace nbl::quant {

/// The values that a weight over its scale can become: integers low to high, or the entries of a codebook.
struct Levels {
  int low = -8, high = 7;
  const Codebook4* table = nullptr;

  int codes() const noexcept { return table != nullptr ? 16 : high - low + 1; }
  /// The code nearest to x; its level.
  uint8_t code(float x) const noexcept;
  float level(uint8_t code) const noexcept {
    return table != nullptr ? table->table[code] : static_cast<float>(low + static_cast<int>(code));
  }
  float lowest() const noexcept { return level(table != nullptr ? table->order.front() : 0); }
  float highest() const noexcept { return level(table != nullptr ? table->order.back() : static_cast<uint8_t>(codes() - 1)); }
};

/// w ~ scale * level(code) + minimum.
struct BlockFit {
  float scale = 0, minimum = 0;
};

/// The scale (of either sign) of least weighted squared error among `steps` candidates a side, each refitted by least squares to
/// its codes. w, h: count weights and their importance.
float fit_scale(const float* w, const float* h, int64_t count, const Levels& levels, int steps);

/// Scale > 0 and minimum for codes 0 to max_code. With `below`, minimum <= 0.
BlockFit fit_minimum(const float* w, const float* h, int64_t count, int max_code, bool below, int steps);

/// From a fit on: codes for the grid and a grid for the codes (least squares), in turns until neither changes.
BlockFit refit_minimum(const float* w, const float* h, int64_t count, int max_code, BlockFit fit);

/// Weighted squared error of the nearest codes.
double scale_error(const float* w, const float* h, int64_t count, const Levels& levels, float scale);
double minimum_error(const float* w, const float* h, int64_t count, int max_code, const BlockFit& fit);

/// The code of w on a grid with a minimum; scale 0 has code 0.
uint8_t minimum_code(float w, const BlockFit& fit, int max_code) noexcept;

/// Several groups whose scales are whole multiples of one f16 number (and whose minimums are of another).
struct SuperRule {
  int64_t group = 32;     ///< weights
  int scale_low = 0, scale_high = 63;  ///< of a group's multiple
  int minimum_high = 0;   ///< multiples of -super minimum; 0: no minimums
  Levels levels;          ///< without minimums
  int max_code = 15;      ///< with minimums
  int steps = 16;
};
struct SuperFit {
  float scale = 0, minimum = 0;  ///< f16 numbers; a group's scale is scale * multiple, its minimum minimum * multiple (minimum <= 0)
  std::array<int, 16> scale_multiple{}, minimum_multiple{};
};
/// count: weights, at most 16 groups.
SuperFit fit_super(const float* w, const float* h, int64_t count, const SuperRule& rule);

}  // namespace nbl::quant
