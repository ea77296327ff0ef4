#include "quant/trellis.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/checked.h"

namespace nbl::quant {

using kernels::kPanelRows;
using kernels::kTrellisSteps;

namespace {

/// From the positive values times 128, ascending.
TrellisTable make_table(std::span<const int> positive, float unit) {
  TrellisTable out;
  const std::size_t half = positive.size();
  for (std::size_t i = 0; i < half; ++i) {
    out.values[half + i] = static_cast<float>(positive[i]) / 128.0f;
    out.values[half - 1 - i] = -out.values[half + i];
  }
  const std::size_t first = half == 16 ? 16 : 0;  // of 4 bits the upper half alone
  std::copy_n(out.values.begin() + static_cast<std::ptrdiff_t>(first), 16, out.stored.begin());
  out.unit = unit;
  return out;
}

double sum_of(std::span<const float> values, int64_t first, int64_t count) {
  const std::span<const float> part = values.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
  return std::accumulate(part.begin(), part.end(), 0.0);
}

/// Multiples of `step` below `end`, from `begin` on, by falling sum of importance over the columns up to the next.
std::vector<int64_t> descending(std::span<const float> importance, int64_t begin, int64_t end, int64_t step) {
  std::vector<std::pair<double, int64_t>> sums;
  for (int64_t first = begin; first < end; first += step)
    sums.push_back({-sum_of(importance, first, std::min(step, end - first)), first});
  std::stable_sort(sums.begin(), sums.end());
  std::vector<int64_t> out;
  for (const auto& [sum, first] : sums) out.push_back(first);
  return out;
}

}  // namespace

const TrellisTable& trellis_table(int bits) noexcept {
  static constexpr int kOne[] = {32, 127}, kTwo[] = {11, 40, 71, 127}, kThree[] = {5, 16, 26, 38, 51, 67, 90, 127},
                       kFour[] = {2, 8, 13, 18, 24, 29, 35, 42, 48, 55, 62, 70, 79, 89, 104, 127};
  static const TrellisTable tables[4] = {make_table(kOne, 1.2290f), make_table(kTwo, 1.9045f),
                                         make_table(kThree, 2.4271f), make_table(kFour, 2.6111f)};
  return tables[bits - 1];
}

TrellisTile::TrellisTile(int64_t first_column, int64_t k) {
  for (int64_t s = 0; s < kTrellisSteps; ++s) {
    const int64_t column = first_column + kernels::trellis_column(s);
    if (column >= k) continue;
    steps_[columns_.size()] = static_cast<uint8_t>(s);
    present_[static_cast<std::size_t>(s)] = 1;
    columns_.push_back(static_cast<int32_t>(column));
  }
}

void TrellisTile::set_factor(const float* r, int64_t ld) {
  weight_.assign(kTrellisSteps, 0.0f);
  feed_.assign(kTrellisSteps * kTrellisSteps, 0.0f);
  for (int64_t j = 0; j < count(); ++j) {
    const int64_t step = steps_[static_cast<std::size_t>(j)];
    const float diagonal = r[j * ld + j];
    weight_[static_cast<std::size_t>(step)] = diagonal;
    for (int64_t i = 0; i < j; ++i)
      feed_[static_cast<std::size_t>(steps_[static_cast<std::size_t>(i)] * kTrellisSteps + step)] =
          r[j * ld + i] / diagonal;
  }
}

std::vector<TrellisTile> trellis_tiles(std::span<const float> importance, int64_t k, int64_t group) {
  std::vector<TrellisTile> out;
  for (const int64_t first : descending(importance, 0, k, group))
    for (const int64_t tile : descending(importance, first, std::min(k, first + group), kTrellisSteps))
      out.emplace_back(tile, k);
  return out;
}

TrellisCoder::TrellisCoder(int bits, Isa isa)
    : bits_(bits),
      table_(trellis_table(bits)),
      trellis_(kernels::select_panel(static_cast<int>(isa)).trellis),
      wanted_(kTrellisSteps * kPanelRows),
      truth_(kTrellisSteps * kPanelRows),
      scratch_(kernels::kTrellisScratch),
      codes_(kTrellisSteps * kPanelRows) {}

void TrellisCoder::spread(const TrellisTile& tile, const float* from, float* to) const {
  if (tile.count() < kTrellisSteps) std::fill_n(to, kTrellisSteps * kPanelRows, 0.0f);
  for (int64_t i = 0; i < tile.count(); ++i)
    std::copy_n(from + i * kPanelRows, kPanelRows, to + tile.steps_[static_cast<std::size_t>(i)] * kPanelRows);
}

void TrellisCoder::run(const TrellisTile& tile, const float* wanted, const float* truth, const float* scale,
                       uint8_t* codes, float* cost) {
  alignas(64) float scales[kPanelRows], inverse[kPanelRows], costs[kPanelRows];
  for (int64_t r = 0; r < kPanelRows; ++r) {
    scales[r] = scale[r];
    inverse[r] = scale[r] > 0 ? 1.0f / scale[r] : 0.0f;
  }
  spread(tile, wanted, wanted_.data());
  if (truth != nullptr) spread(tile, truth, truth_.data());
  const bool feedback = truth != nullptr;
  trellis_({bits_, table_.values.data(), tile.count() < kTrellisSteps ? tile.present_.data() : nullptr, wanted_.data(),
            truth_.data(), feedback ? tile.feed_.data() : nullptr, feedback ? tile.weight_.data() : nullptr, scales,
            inverse, scratch_.data(), codes == nullptr ? nullptr : codes_.data(), costs});
  std::copy_n(costs, kPanelRows, cost);
  if (codes == nullptr) return;
  for (int64_t i = 0; i < tile.count(); ++i)
    std::copy_n(codes_.data() + tile.steps_[static_cast<std::size_t>(i)] * kPanelRows, kPanelRows,
                codes + i * kPanelRows);
}

void TrellisCoder::extents(std::span<const TrellisTile> tiles, const float* panel, float* root_mean_square, float* largest) const {
  double sum[kPanelRows] = {};
  std::fill_n(largest, kPanelRows, 0.0f);
  int64_t count = 0;
  for (const TrellisTile& tile : tiles) {
    for (int64_t i = 0; i < tile.count(); ++i, ++count) {
      for (int64_t r = 0; r < kPanelRows; ++r) {
        const double w = static_cast<double>(panel[count * kPanelRows + r]);
        sum[r] += w * w;
        largest[r] = std::max(largest[r], std::abs(panel[count * kPanelRows + r]));
      }
    }
  }
  for (int64_t r = 0; r < kPanelRows; ++r)
    root_mean_square[r] = static_cast<float>(std::sqrt(sum[r] / static_cast<double>(std::max<int64_t>(1, count))));
}

void TrellisCoder::costs(std::span<const TrellisTile> tiles, const float* panel, const float* scales, float* out) {
  std::fill_n(out, kPanelRows, 0.0f);
  for (const TrellisTile& tile : tiles) {
    float cost[kPanelRows];
    run(tile, panel, nullptr, scales, nullptr, cost);
    for (int64_t r = 0; r < kPanelRows; ++r) out[r] += cost[r];
    panel += tile.count() * kPanelRows;
  }
}

}  // namespace nbl::quant
