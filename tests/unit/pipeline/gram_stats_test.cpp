#include "pipeline/gram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/random.h"

namespace nbl::pipeline {
namespace {

TEST(StatsAccumulator, SumsOuterProductsAndMagnitudes) {
  Team team(2);
  for (int64_t k : {1, 16, 47, 48, 49, 100, 200}) {
    for (int64_t m : {1, 3, 1024, 1500}) {
      SCOPED_TRACE(::testing::Message() << "k " << k << " m " << m);
      Random random(static_cast<uint64_t>(k * 10000 + m));
      const int64_t ldx = k + 5;
      std::vector<float> x(static_cast<std::size_t>(m * ldx), std::numeric_limits<float>::quiet_NaN());
      for (int64_t t = 0; t < m; ++t)
        for (int64_t c = 0; c < k; ++c)
          x[static_cast<std::size_t>(t * ldx + c)] = static_cast<float>(random.normal() + 0.3);
      auto sums = StatsAccumulator::create(k, quant::kNeedHessian | quant::kNeedAbsMean);
      ASSERT_TRUE(sums.ok());
      // In two calls, as chunks of windows arrive.
      const int64_t first = m / 3;
      sums->add({.x = x.data(), .ldx = ldx, .m = first}, team);
      sums->add({.x = x.data() + first * ldx, .ldx = ldx, .m = m - first}, team);
      auto stats = sums->finish(team);
      ASSERT_TRUE(stats.ok()) << stats.status().message();
      EXPECT_EQ(stats->k, k);
      EXPECT_EQ(stats->tokens, m);
      ASSERT_EQ(stats->hessian.size(), static_cast<std::size_t>(k * k));
      for (int64_t i = 0; i < k; ++i) {
        double magnitude = 0;
        for (int64_t t = 0; t < m; ++t)
          magnitude += std::fabs(static_cast<double>(x[static_cast<std::size_t>(t * ldx + i)]));
        EXPECT_NEAR(stats->abs_mean[static_cast<std::size_t>(i)], magnitude / static_cast<double>(m), 1e-6);
        for (int64_t j = 0; j < k; ++j) {
          double expected = 0, size = 0;
          for (int64_t t = 0; t < m; ++t) {
            const double p = static_cast<double>(x[static_cast<std::size_t>(t * ldx + i)]) *
                             static_cast<double>(x[static_cast<std::size_t>(t * ldx + j)]);
            expected += p;
            size += std::fabs(p);
          }
          ASSERT_NEAR(stats->hessian[static_cast<std::size_t>(i * k + j)], expected, 1e-5 * size + 1e-6)
              << i << ", " << j;
          ASSERT_EQ(stats->hessian[static_cast<std::size_t>(i * k + j)],
                    stats->hessian[static_cast<std::size_t>(j * k + i)]);
        }
      }
    }
  }
}

TEST(StatsAccumulator, TheSameBytesForAnyNumberOfThreads) {
  const int64_t k = 150, m = 2000;
  Random random(9);
  std::vector<float> x(static_cast<std::size_t>(m * k));
  for (float& v : x) v = static_cast<float>(random.normal());
  std::vector<float> first;
  for (int threads : {1, 2, 3}) {
    Team team(threads);
    auto sums = StatsAccumulator::create(k, quant::kNeedHessian);
    ASSERT_TRUE(sums.ok());
    sums->add({.x = x.data(), .ldx = k, .m = m}, team);
    auto stats = sums->finish(team);
    ASSERT_TRUE(stats.ok());
    if (first.empty()) first = stats->hessian;
    EXPECT_EQ(stats->hessian, first) << threads << " threads";
  }
}

/// A token whose stream has a thousand times the others' power counts as one with so many times the usual that it may have; a token
/// beside it is not touched. The same factor in all three sums, on both roundings.
TEST(StatsAccumulator, TokensFarLargerThanMostCountLess) {
  const int64_t k = 20, n = 6, m = 300, large = 17;
  Random random(12);
  std::vector<float> x(static_cast<std::size_t>(m * k)), stream(static_cast<std::size_t>(m * n), 1.0f);
  for (float& v : x) v = static_cast<float>(random.normal());
  for (int64_t c = 0; c < n; ++c) stream[static_cast<std::size_t>(large * n + c)] = 1000.0f;
  std::vector<float> original(x.size()), original_stream(stream.size());
  for (std::size_t i = 0; i < x.size(); ++i) original[i] = x[i] + static_cast<float>(0.1 * random.normal());
  for (std::size_t i = 0; i < stream.size(); ++i) original_stream[i] = stream[i] + static_cast<float>(0.1 * random.normal());
  const auto sums_of = [&](const std::vector<float>& values, const std::vector<float>& before, const std::vector<float>& residual, bool even,
                           Compute compute) {
    const uint32_t needs = quant::kNeedHessian | quant::kNeedCross | quant::kNeedResidual | (even ? quant::kNeedEvenTokens : 0u);
    Team team(2);
    auto sums = StatsAccumulator::create(k, needs, n, compute);
    EXPECT_TRUE(sums.ok());
    std::vector<float> other(stream);
    for (std::size_t i = 0; i < other.size(); ++i) other[i] += residual[i];
    sums->add({.x = values.data(), .ldx = k, .m = m, .original = before.data(), .ld_original = k, .stream = stream.data(),
               .original_stream = other.data()},
              team);
    return std::move(sums->finish(team)).value();
  };
  std::vector<float> residual(stream.size());
  for (std::size_t i = 0; i < stream.size(); ++i) residual[i] = original_stream[i] - stream[i];
  // What the factor makes of that token, done by hand: the geometric mean of powers is 1e6^(1/300), 16 times that is allowed.
  const float factor = static_cast<float>(std::sqrt(16 * std::pow(1e6, 1.0 / 300) / 1e6));
  std::vector<float> scaled = x, scaled_original = original, scaled_residual = residual;
  for (int64_t c = 0; c < k; ++c) {
    scaled[static_cast<std::size_t>(large * k + c)] *= factor;
    scaled_original[static_cast<std::size_t>(large * k + c)] *= factor;
  }
  for (int64_t c = 0; c < n; ++c) scaled_residual[static_cast<std::size_t>(large * n + c)] *= factor;
  for (const Compute compute : {Compute::exact, Compute::fast}) {
    const quant::InputStats even = sums_of(x, original, residual, true, compute), plain = sums_of(x, original, residual, false, compute),
                            by_hand = sums_of(scaled, scaled_original, scaled_residual, false, compute);
    EXPECT_GT(std::fabs(even.hessian[0] - plain.hessian[0]), 1e-4f);
    const auto expect_near = [&](const std::vector<float>& a, const std::vector<float>& b, double scale) {
      ASSERT_EQ(a.size(), b.size());
      for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], scale * (compute == Compute::exact ? 1e-4 : 3e-3)) << i;
    };
    expect_near(even.hessian, by_hand.hessian, m);
    expect_near(even.cross, by_hand.cross, 0.1 * m);
    expect_near(even.residual, by_hand.residual, 0.1 * m);
    EXPECT_EQ(even.tokens, m);
  }
}

TEST(StatsAccumulator, SumsTheDriftOfInputsAndStream) {
  const int64_t k = 70, n = 50, m = 1300;
  Random random(11);
  const auto numbers = [&](int64_t count, double size) {
    std::vector<float> out(static_cast<std::size_t>(count));
    for (float& v : out) v = static_cast<float>(size * random.normal());
    return out;
  };
  const std::vector<float> x = numbers(m * (k + 3), 1), stream = numbers(m * n, 1);
  std::vector<float> u = numbers(m * (k + 1), 0.1), original = numbers(m * n, 0.1);
  for (int64_t t = 0; t < m; ++t)
    for (int64_t c = 0; c < k; ++c) u[static_cast<std::size_t>(t * (k + 1) + c)] += x[static_cast<std::size_t>(t * (k + 3) + c)];
  for (std::size_t i = 0; i < stream.size(); ++i) original[i] += stream[i];
  for (const Compute compute : {Compute::exact, Compute::fast}) {
    SCOPED_TRACE(compute == Compute::exact ? "exact" : "fast");
    std::vector<float> first;
    for (int threads : {1, 2}) {
      Team team(threads);
      auto sums =
          StatsAccumulator::create(k, quant::kNeedHessian | quant::kNeedCross | quant::kNeedResidual, n, compute);
      ASSERT_TRUE(sums.ok());
      sums->add({.x = x.data(), .ldx = k + 3, .m = m, .original = u.data(), .ld_original = k + 1, .stream = stream.data(),
                 .original_stream = original.data()},
                team);
      auto stats = sums->finish(team);
      ASSERT_TRUE(stats.ok()) << stats.status().message();
      const auto check = [&](const std::vector<float>& got, int64_t rows, auto&& left, auto&& right) {
        ASSERT_EQ(got.size(), static_cast<std::size_t>(rows * k));
        const double tolerance = compute == Compute::exact ? 1e-5 : std::ldexp(1.0, -7);
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < k; ++j) {
            double expected = 0, size = 0;
            for (int64_t t = 0; t < m; ++t) {
              const double p = left(t, i) * right(t, j);
              expected += p;
              size += std::fabs(p);
            }
            ASSERT_NEAR(got[static_cast<std::size_t>(i * k + j)], expected, tolerance * size + 1e-6) << i << ", " << j;
          }
        }
      };
      const auto xs = [&](int64_t t, int64_t c) { return static_cast<double>(x[static_cast<std::size_t>(t * (k + 3) + c)]); };
      const auto ds = [&](int64_t t, int64_t c) {
        return static_cast<double>(u[static_cast<std::size_t>(t * (k + 1) + c)]) - xs(t, c);
      };
      const auto rs = [&](int64_t t, int64_t c) {
        const std::size_t at = static_cast<std::size_t>(t * n + c);
        return static_cast<double>(original[at]) - static_cast<double>(stream[at]);
      };
      check(stats->hessian, k, xs, xs);
      check(stats->cross, k, xs, ds);
      check(stats->residual, n, rs, xs);
      if (first.empty()) first = stats->cross;
      EXPECT_EQ(first, stats->cross);
    }
  }
}

TEST(StatsAccumulator, ActivationsThatAreNotFiniteAreNamed) {
  Team team(1);
  std::vector<float> x(10 * 20, 1.0f);
  x[3 * 20 + 7] = std::numeric_limits<float>::infinity();
  auto sums = StatsAccumulator::create(20, quant::kNeedHessian | quant::kNeedAbsMean);
  ASSERT_TRUE(sums.ok());
  sums->add({.x = x.data(), .ldx = 20, .m = 10}, team);
  auto stats = sums->finish(team);
  ASSERT_FALSE(stats.ok());
  EXPECT_EQ(stats.status().message(), "the activations of column 7 are not finite");
}

}  // namespace
}  // namespace nbl::pipeline
