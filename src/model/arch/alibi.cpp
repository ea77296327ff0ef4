#include "model/arch/alibi.h"

#include <bit>
#include <cmath>

namespace nbl::model::arch {

std::vector<float> alibi_slopes(int64_t heads) {
  const int64_t whole = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  std::vector<float> slopes;
  for (int64_t i = 1; i <= whole; ++i)
    slopes.push_back(static_cast<float>(std::exp2(-8.0 * static_cast<double>(i) / static_cast<double>(whole))));
  for (int64_t i = 1; whole + (i + 1) / 2 <= heads; i += 2)
    slopes.push_back(static_cast<float>(std::exp2(-8.0 * static_cast<double>(i) / static_cast<double>(2 * whole))));
  return slopes;
}

std::vector<float> mpt_alibi_slopes(int64_t heads, double bias_max) {
  const int64_t steps = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(heads)));
  const auto slope = [&](int64_t step) {
    return static_cast<float>(std::exp2(-bias_max * static_cast<double>(step) / static_cast<double>(steps)));
  };
  std::vector<float> slopes;
  if (steps == heads) {
    for (int64_t i = 1; i <= heads; ++i) slopes.push_back(slope(i));
    return slopes;
  }
  for (int64_t i = 2; i <= steps && static_cast<int64_t>(slopes.size()) < heads; i += 2) slopes.push_back(slope(i));
  for (int64_t i = 1; i <= steps && static_cast<int64_t>(slopes.size()) < heads; i += 2) slopes.push_back(slope(i));
  return slopes;
}

}  // namespace nbl::model::arch
