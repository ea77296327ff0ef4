// Affine grids: how a group of weights gets a scale and a zero code, and a weight its code. What rtn, gptq and awq share.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "quant/method.h"
#include "tensor/dtype.h"
#include "tensor/qtensor.h"

namespace nbl::quant {

/// w = scale * (q - zero), q in [0, 2^bits). The zero is a code; symmetric grids have 2^(bits - 1).
struct Grid {
  float scale = 1;
  float zero = 0;
};

struct GridRule {
  int bits = 4;
  bool symmetric = false;
  /// 0: the range is that of the weights. Else this many ranges are tried, from the full one down to search_floor of it, and the
  /// one with the least (importance-weighted) squared error is taken.
  int search_steps = 0;
  double search_floor = 0.35;
  DType scale_type = DType::f16;  ///< f16, bf16 or f32; scales are rounded before codes are chosen
  /// Not null: scales are whole multiples, 1 to scale_top, of their row's step: [32], of a panel's rows (AffineCodes::rule_of).
  const float* steps = nullptr;
  float scale_top = 0;
};

/// x rounded to the nearest integer, ties to even; |x| < 2^22.
inline float round_even(float x) noexcept {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it leaves no bits below the units
  return (x + kMagic) - kMagic;
}

/// The code of w: nearest on the grid, inside [0, max_code]. Large quotients are clamped before they are rounded.
inline float nearest_code(float w, const Grid& grid, float max_code) noexcept {
  float q = w / grid.scale + grid.zero;
  q = q > 0.0f ? (q < max_code ? q : max_code) : 0.0f;  // NaN becomes 0
  return round_even(q);
}

inline float grid_value(float code, const Grid& grid) noexcept { return grid.scale * (code - grid.zero); }

/// The grids of a panel's rows: [count] columns of 32 rows, 64-byte aligned. importance: `count` non-negative factors, or null.
/// clip, if not null, multiplies each row's range instead of a search.
void find_grids(const float* panel, int64_t count, const GridRule& rule, const float* importance, const float* clip, Isa isa,
                Grid* grids);

/// The nearest value of `type` to a positive scale, never 0 and never infinite.
float round_scale(float scale, DType type) noexcept;

/// The nearest multiple of `step` to a positive scale, from one step to `top` of them.
inline float round_to_steps(float scale, float step, float top) noexcept {
  const float code = scale / step;
  return step * round_even(code > 1.0f ? (code < top ? code : top) : 1.0f);
}

/// f16 unless a scale of this weight would not fit, then f32 (and a note).
DType choose_scale_type(std::span<const float> weight, int bits, std::vector<std::string>* notes, Isa isa = best_isa());
/// The same where the largest scale is so many times the largest magnitude.
DType choose_scale_type_of(std::span<const float> weight, float scale_of_reach, std::vector<std::string>* notes, Isa isa = best_isa());

/// Columns of a group: group_size <= 0 or larger than k means the whole row.
inline int64_t effective_group(int64_t group_size, int64_t k) noexcept {
  return group_size <= 0 || group_size > k ? k : group_size;
}
/// What QTensor stores: 0 for one group.
inline int64_t stored_group(int64_t group_size, int64_t k) noexcept {
  return group_size <= 0 || group_size >= k ? 0 : group_size;
}

/// Codes [n, k] in packed column order with their grids [n, groups], row-major.
struct AffineCodes {
  int64_t n = 0, k = 0, group = 0;
  int bits = 4;
  /// Codes have bits + 1 bits, form paths and mean scale * trellis_table(bits).values[code]; symmetric.
  bool trellis = false;
  bool symmetric = false;
  DType scale_type = DType::f16;
  std::vector<uint8_t> codes;
  std::vector<float> scales, zeros;
  /// 0: scales are of scale_type. Else they are codes of so many bits times a step of that type, which step_rows rows share.
  int scale_bits = 0;
  int64_t step_rows = 1;
  std::vector<float> steps;  ///< [ceil(n / step_rows)]

  int64_t groups() const noexcept { return (k + group - 1) / group; }
  /// What the code at (row, column) stands for.
  float value(int64_t row, int64_t column) const noexcept;
  /// From now on scales are codes. Steps are such that the largest code reaches the full range of the weight [n, k].
  void code_scales(std::span<const float> weight, int bits, const MethodContext& context);
  /// Steps for the rows from `row` on (a multiple of step_rows) instead, whose largest scales are these.
  void fit_steps(int64_t row, std::span<const float> largest);
  static constexpr int64_t kMostStepRows = 16;
  /// The largest scale that a group of such weights could want; low <= 0 <= high.
  float scale_for(float low, float high, float root_mean_square) const;
  /// The rule for grids of the 32 rows from `row` on; panel_steps holds their steps.
  GridRule rule_of(const GridRule& rule, int64_t row, float* panel_steps) const;
  /// A scale of `row` as it can be stored.
  float rounded_scale(float scale, int64_t row) const noexcept {
    if (trellis && !(scale > 0)) return 0;  // no code means zero: the scale does
    return scale_bits == 0 ? round_scale(scale, scale_type)
                           : round_to_steps(scale, steps[static_cast<std::size_t>(row / step_rows)], static_cast<float>((1 << scale_bits) - 1));
  }
  static AffineCodes create(int64_t n, int64_t k, int64_t group_size, const GridRule& rule);
  Result<Segment> pack() const;

 private:
  /// The largest scale that a row's weights [k] could want.
  float largest_scale(const float* row) const;
};

/// Nearest codes for a row-major weight [n, k]; clip [n, groups] multiplies the range of each group's grid (empty: the rule's
/// search).
void round_to_nearest(std::span<const float> weight, const GridRule& rule, std::span<const float> clip,
                      const MethodContext& context, AffineCodes* out);

/// bits + (scale bits + zero bits) / group, for tables. group <= 0 counts no overhead. scale_bits 0: 16-bit scales.
double nominal_affine_bits(int bits, bool symmetric, int64_t group, int scale_bits = 0);

/// Group sizes that QTensor can store.
Status check_group_size(int64_t group_size);

}  // namespace nbl::quant
