#include "pipeline/rotation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.h"

namespace nbl::pipeline {
namespace {

TEST(Rotation, IsOrthogonalAndSpreadsAnOutlier) {
  for (const int64_t width : {64, 96, 576}) {
    const Rotation rotation(width, 5);
    EXPECT_EQ(rotation.block(), width == 96 ? 32 : 64);
    Random random(3);
    std::vector<float> x(static_cast<std::size_t>(width)), y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<float>(random.normal());
      y[i] = static_cast<float>(random.normal());
    }
    const auto dot = [&] {
      double xx = 0, xy = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        xx += static_cast<double>(x[i]) * static_cast<double>(x[i]);
        xy += static_cast<double>(x[i]) * static_cast<double>(y[i]);
      }
      return std::pair(xx, xy);
    };
    const auto before = dot();
    rotation.apply(x.data());
    rotation.apply(y.data());
    const auto after = dot();
    EXPECT_NEAR(after.first, before.first, 1e-4 * before.first);
    EXPECT_NEAR(after.second, before.second, 1e-4 * before.first);
    std::vector<float> spike(static_cast<std::size_t>(width), 0.0f);
    spike[7] = 1;
    rotation.apply(spike.data());
    for (int64_t i = 0; i < rotation.block(); ++i) {
      EXPECT_NEAR(std::fabs(spike[static_cast<std::size_t>(i)]), 1 / std::sqrt(static_cast<double>(rotation.block())), 1e-6);
    }
  }
}

}  // namespace
}  // namespace nbl::pipeline
