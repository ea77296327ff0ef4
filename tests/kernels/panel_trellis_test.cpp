// Paths of the panel family: the least cost there is, the cost that the codes have, and one result everywhere.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/cpu.h"
#include "base/random.h"
#include "kernels/guard_pages.h"
#include "kernels/panel/panel.h"
#include "support/trellis_codes.h"

namespace nbl {
namespace {

using kernels::kPanelRows;
using kernels::PanelKernels;
using kernels::TrellisArgs;
using testing::Guarded;

constexpr int64_t kSteps = 64;

/// A random tile: all operands in guarded memory.
struct Tile {
  int bits;
  std::vector<uint8_t> present;
  Guarded<float> table, wanted, truth, feed, weight, scale, inverse;

  Tile(Random& random, int bits_, int64_t steps_present)
      : bits(bits_),
        present(kSteps, 0),
        table(std::size_t{2} << bits_),
        wanted(kSteps * kPanelRows),
        truth(kSteps * kPanelRows),
        feed(kSteps * kSteps),
        weight(kSteps),
        scale(kPanelRows),
        inverse(kPanelRows) {
    for (std::size_t i = 0; i < table.size(); ++i)
      table[i] =
          (static_cast<float>(i) - 0.5f * static_cast<float>(table.size() - 1)) / static_cast<float>(table.size()) +
          0.02f * random.uniform();
    for (int64_t i = 0; i < steps_present;) {
      uint8_t& at = present[random.below(kSteps)];
      if (at != 0) continue;
      at = 1;
      ++i;
    }
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      truth[i] = static_cast<float>(random.normal());
      wanted[i] = truth[i] + 0.1f * static_cast<float>(random.normal());
    }
    for (float& f : feed.span()) f = 0.2f * static_cast<float>(random.normal());
    for (float& w : weight.span()) w = 0.5f + random.uniform();
    for (std::size_t r = 0; r < scale.size(); ++r) {
      scale[r] = r == 3 ? 0.0f : 3.0f + random.uniform();
      inverse[r] = scale[r] > 0 ? 1.0f / scale[r] : 0.0f;
    }
  }

  TrellisArgs args(bool feedback, float* scratch, uint8_t* codes, float* cost) {
    return {bits,          table.data(), present.data(), wanted.data(), truth.data(), feedback ? feed.data() : nullptr,
            weight.data(), scale.data(), inverse.data(), scratch,       codes,        cost};
  }
};

template <class F>
void for_each_variant(F&& test) {
  int count = 0;
  const PanelKernels* variants = kernels::panel_variants(&count);
  for (int v = 0; v < count; ++v) {
    if (!isa_usable(static_cast<Isa>(variants[v].isa))) continue;
    SCOPED_TRACE(variants[v].name);
    test(variants[v], variants[count - 1]);
  }
}

/// Whether the codes of a row, in the order of steps, follow one path.
bool is_path(const Tile& tile, const uint8_t* codes, int64_t row) {
  std::vector<int> path;
  for (int64_t s = 0; s < kSteps; ++s) {
    path.push_back(0);
    if (tile.present[static_cast<std::size_t>(s)] == 0) {
      if (codes[s * kPanelRows + row] != 0) return false;
      continue;
    }
    // The bit that gives the code's label 1.
    const int code = codes[s * kPanelRows + row];
    path.back() = test::labels_of(path).back().one ^ (code >> 1 & 1);
    if (test::labels_of(path).back().zero != (code & 1)) return false;
  }
  return true;
}

double cost_of(Tile& tile, const uint8_t* codes, int64_t row, bool feedback) {
  double cost = 0;
  std::vector<double> error(kSteps, 0.0);
  for (int64_t s = 0; s < kSteps; ++s) {
    if (tile.present[static_cast<std::size_t>(s)] == 0) continue;
    const std::size_t at = static_cast<std::size_t>(s * kPanelRows + row);
    const double value =
        static_cast<double>(tile.scale[static_cast<std::size_t>(row)]) * static_cast<double>(tile.table[codes[at]]);
    double target = static_cast<double>(tile.wanted[at]);
    for (int64_t i = 0; feedback && i < s; ++i)
      target +=
          static_cast<double>(tile.feed[static_cast<std::size_t>(i * kSteps + s)]) * error[static_cast<std::size_t>(i)];
    error[static_cast<std::size_t>(s)] = static_cast<double>(tile.truth[at]) - value;
    const double e = static_cast<double>(tile.weight[static_cast<std::size_t>(s)]) * (target - value);
    cost += e * e;
  }
  return cost;
}

/// The least cost of all paths, one after the other.
double least_cost(Tile& tile, int64_t row) {
  std::vector<int64_t> steps;
  for (int64_t s = 0; s < kSteps; ++s)
    if (tile.present[static_cast<std::size_t>(s)] != 0) steps.push_back(s);
  double least = 1e300;
  for (uint32_t choice = 0; choice < 1u << steps.size(); ++choice) {
    std::vector<int> path(kSteps, 0);
    for (std::size_t i = 0; i < steps.size(); ++i)
      path[static_cast<std::size_t>(steps[i])] = static_cast<int>(choice >> i & 1u);
    const auto labels = test::labels_of(path);
    double cost = 0;
    for (const int64_t s : steps) {
      const auto& label = labels[static_cast<std::size_t>(s)];
      double nearest = 1e300;
      for (int code = label.one << 1 | label.zero; code < 2 << tile.bits; code += 4) {
        const double e = static_cast<double>(tile.weight[static_cast<std::size_t>(s)]) *
                         (static_cast<double>(tile.wanted[static_cast<std::size_t>(s * kPanelRows + row)]) -
                          static_cast<double>(tile.scale[static_cast<std::size_t>(row)]) *
                              static_cast<double>(tile.table[static_cast<std::size_t>(code)]));
        nearest = std::min(nearest, e * e);
      }
      cost += nearest;
    }
    least = std::min(least, cost);
  }
  return least;
}

TEST(PanelTrellis, WithoutFeedbackThePathIsTheBestThereIs) {
  for_each_variant([&](const PanelKernels& variant, const PanelKernels&) {
    for (int bits = 1; bits <= 4; ++bits) {
      SCOPED_TRACE(::testing::Message() << bits << " bits");
      Random random(static_cast<uint64_t>(100 + bits));
      Tile tile(random, bits, 9);
      Guarded<float> scratch(kernels::kTrellisScratch), cost(kPanelRows);
      std::vector<uint8_t> codes(kSteps * kPanelRows);
      variant.trellis(tile.args(false, scratch.data(), codes.data(), cost.data()));
      for (int64_t r = 0; r < kPanelRows; ++r) {
        EXPECT_TRUE(is_path(tile, codes.data(), r)) << "row " << r;
        const double least = least_cost(tile, r);
        EXPECT_NEAR(cost_of(tile, codes.data(), r, false), least, 1e-5 * (1 + least)) << "row " << r;
        EXPECT_NEAR(static_cast<double>(cost[static_cast<std::size_t>(r)]), least, 1e-5 * (1 + least)) << "row " << r;
      }
    }
  });
}

TEST(PanelTrellis, WithFeedbackTheCostIsThatOfTheCodes) {
  for_each_variant([&](const PanelKernels& variant, const PanelKernels& reference) {
    for (int bits = 1; bits <= 4; ++bits) {
      for (const int64_t present : {64, 50}) {
        SCOPED_TRACE(::testing::Message() << bits << " bits, " << present << " columns");
        Random random(static_cast<uint64_t>(200 + bits));
        Tile tile(random, bits, present);
        Guarded<float> scratch(kernels::kTrellisScratch), cost(kPanelRows), same_cost(kPanelRows);
        std::vector<uint8_t> codes(kSteps * kPanelRows), same(codes.size());
        variant.trellis(tile.args(true, scratch.data(), codes.data(), cost.data()));
        reference.trellis(tile.args(true, scratch.data(), same.data(), same_cost.data()));
        EXPECT_EQ(codes, same);
        EXPECT_EQ(std::memcmp(cost.data(), same_cost.data(), kPanelRows * sizeof(float)), 0);
        variant.trellis(tile.args(false, scratch.data(), same.data(), same_cost.data()));
        double with = 0, without = 0;
        for (int64_t r = 0; r < kPanelRows; ++r) {
          EXPECT_TRUE(is_path(tile, codes.data(), r)) << "row " << r;
          const double of_codes = cost_of(tile, codes.data(), r, true);
          EXPECT_NEAR(static_cast<double>(cost[static_cast<std::size_t>(r)]), of_codes, 1e-3 * of_codes) << "row " << r;
          with += of_codes;
          without += cost_of(tile, same.data(), r, true);
        }
        EXPECT_LT(with, 0.9 * without) << "a path that knows of the feedback should cost less than one that does not";
        // Only the cost: the same number.
        variant.trellis(tile.args(true, scratch.data(), nullptr, same_cost.data()));
        EXPECT_EQ(std::memcmp(cost.data(), same_cost.data(), kPanelRows * sizeof(float)), 0);
      }
    }
  });
}

}  // namespace
}  // namespace nbl
