// Trellis-coded quantization: codebooks, and column tiles as Viterbi's algorithm takes them (kernels/panel/panel.h).
// What rounding with error feedback and its refinement share. The code itself: kernels/simd/trellis.h.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/cpu.h"
#include "kernels/panel/panel.h"
#include "quant/calibrated.h"

namespace nbl::quant {

/// The values of codes over their scale, for normally distributed weights: trained by Lloyd's algorithm on the code's
/// own paths with searched scales in groups of 64 (tests/golden/quant/make_trellis.py). Whole multiples of 1/128, so
/// that integer products take them as they are.
struct TrellisTable {
  std::array<float, 32> values{};  ///< ascending, 2^(bits + 1) of them
  std::array<float, 16> stored{};  ///< as a segment keeps them
  float unit = 1;                  ///< the scale that suits weights of variance 1
};
/// bits: 1 to 4.
const TrellisTable& trellis_table(int bits) noexcept;

/// One column tile, its columns in the order of steps.
class TrellisTile {
 public:
  TrellisTile(int64_t first_column, int64_t k);

  const std::vector<int32_t>& columns() const noexcept { return columns_; }
  int64_t count() const noexcept { return static_cast<int64_t>(columns_.size()); }
  /// The least cost of an error e of these columns is |e R|^2 with R upper triangular, R_ij = r[j * ld + i] for i <= j
  /// < count().
  void set_factor(const float* r, int64_t ld);

 private:
  friend class TrellisCoder;
  std::vector<int32_t> columns_;
  std::array<uint8_t, kernels::kTrellisSteps> steps_{}, present_{};  // of a column; of a step
  std::vector<float> weight_, feed_;
};

/// The tiles of k columns: whole groups by falling sum of `importance` (the Hessian's diagonal), tiles within a group
/// likewise. `group` is a multiple of 64 or all columns.
std::vector<TrellisTile> trellis_tiles(std::span<const float> importance, int64_t k, int64_t group);

/// Paths for a panel's 32 rows.
class TrellisCoder {
 public:
  TrellisCoder(int bits, Isa isa);

  /// Columns of the tile in its order: wanted, truth and codes [count][32]; see TrellisArgs. cost [32].
  void run(const TrellisTile& tile, const float* wanted, const float* truth, const float* scale, uint8_t* codes,
           float* cost);

  /// Scales [32] for a group of these tiles without feedback: the best of some from kLeastScale times what suits the rows' root mean square
  /// up to reach().
  /// panel: all their columns in order, [..][32]. `stored(scale, row)` is the nearest scale that can be kept.
  template <class Stored>
  void find_scales(std::span<const TrellisTile> tiles, const float* panel, float* scales, const Stored& stored) {
    float root[kernels::kPanelRows], largest[kernels::kPanelRows], least[kernels::kPanelRows];
    extents(tiles, panel, root, largest);
    for (int i = 0; i < kScalesTried; ++i) {
      float tried[kernels::kPanelRows], cost[kernels::kPanelRows];
      for (int64_t r = 0; r < kernels::kPanelRows; ++r) {
        const float first = root[r] * table_.unit * kLeastScale, last = reach(table_, root[r], largest[r]);
        const float wanted = first + (last - first) * static_cast<float>(i) / static_cast<float>(kScalesTried - 1);
        tried[r] = wanted > 0 ? stored(wanted, r) : 0.0f;
      }
      costs(tiles, panel, tried, cost);
      for (int64_t r = 0; r < kernels::kPanelRows; ++r) {
        if (i > 0 && !(cost[r] < least[r])) continue;
        least[r] = cost[r];
        scales[r] = tried[r];
      }
    }
  }
  /// The largest scale tried for weights of this root mean square and largest magnitude: of rare values far beyond the rest the one
  /// that reaches them.
  static float reach(const TrellisTable& table, float root_mean_square, float largest) noexcept {
    return std::max(root_mean_square * table.unit * largest_scale(), largest);
  }
  /// The largest multiple of the root mean square tried, times the table's unit, where no value lies beyond it.
  static constexpr float largest_scale() noexcept {
    return kLeastScale + kScaleStep * static_cast<float>(kScalesTried - 1);
  }

 private:
  static constexpr int kScalesTried = 12;
  static constexpr float kLeastScale = 0.75f, kScaleStep = 0.05f;

  void extents(std::span<const TrellisTile> tiles, const float* panel, float* root_mean_square, float* largest) const;
  void costs(std::span<const TrellisTile> tiles, const float* panel, const float* scales, float* out);
  void spread(const TrellisTile& tile, const float* from, float* to) const;

  int bits_;
  const TrellisTable& table_;
  void (*trellis_)(const kernels::TrellisArgs&);
  AlignedFloats wanted_, truth_, scratch_;
  AlignedArray<uint8_t> codes_;
};

}  // namespace nbl::quant
