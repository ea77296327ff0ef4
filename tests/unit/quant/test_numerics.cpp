// What happens when statistics are singular, wrong or not numbers: each step down is taken and recorded.
#include <gtest/gtest.h>

#include <limits>

#include "quant/hessian_factor.h"
#include "quant/linalg.h"
#include "quant_testing.h"

namespace nbl::quant {
namespace {

using testing::Layer;
using testing::random_layer;

bool noted(const LinearResult& result, std::string_view text) {
  for (const std::string& note : result.notes)
    if (note.find(text) != std::string::npos) return true;
  return false;
}

std::vector<double> gram(int64_t n, int64_t rank, uint64_t seed) {
  Random random(seed);
  std::vector<double> b(static_cast<std::size_t>(n * rank)), a(static_cast<std::size_t>(n * n));
  for (double& v : b) v = random.normal();
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t r = 0; r < rank; ++r)
        a[static_cast<std::size_t>(i * n + j)] += b[static_cast<std::size_t>(i * rank + r)] * b[static_cast<std::size_t>(j * rank + r)];
  return a;
}

double product(const std::vector<double>& lower, int64_t n, int64_t i, int64_t j) {
  double sum = 0;
  for (int64_t q = 0; q <= std::min(i, j); ++q)
    sum += lower[static_cast<std::size_t>(i * n + q)] * lower[static_cast<std::size_t>(j * n + q)];
  return sum;
}

TEST(PivotedFactor, GivesBackASingularMatrixAndCountsWhatItLacks) {
  constexpr int64_t n = 48, rank = 20;
  const std::vector<double> a = gram(n, rank, 3);
  std::vector<double> plain = a;
  EXPECT_FALSE(cholesky_lower(plain, n, testing::context()));
  std::vector<double> lower = a;
  EXPECT_EQ(pivoted_lower(lower, n, 1e-8), n - rank);
  for (int64_t i = 0; i < n; ++i) {
    EXPECT_GT(lower[static_cast<std::size_t>(i * n + i)], 0);
    for (int64_t j = 0; j <= i; ++j) EXPECT_NEAR(product(lower, n, i, j), a[static_cast<std::size_t>(i * n + j)], 1e-6) << i << ' ' << j;
  }
}

TEST(PivotedFactor, EqualsTheOrdinaryOneOfADefiniteMatrix) {
  constexpr int64_t n = 40;
  const std::vector<double> a = gram(n, 2 * n, 4);
  std::vector<double> plain = a, lower = a;
  ASSERT_TRUE(cholesky_lower(plain, n, testing::context()));
  EXPECT_EQ(pivoted_lower(lower, n, 1e-8), 0);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j)
      EXPECT_NEAR(lower[static_cast<std::size_t>(i * n + j)], plain[static_cast<std::size_t>(i * n + j)], 1e-9);
}

TEST(PivotedFactor, RaisesNegativePivotsAndRefusesWhatIsNoNumber) {
  std::vector<double> a = {4, 0, 0, 0, -1, 0, 0, 0, 9};
  EXPECT_EQ(pivoted_lower(a, 3, 0.25), 1);
  EXPECT_DOUBLE_EQ(a[0], 2);
  EXPECT_DOUBLE_EQ(a[4], 0.5);
  EXPECT_DOUBLE_EQ(a[8], 3);
  std::vector<double> nan = {4, 0, std::numeric_limits<double>::quiet_NaN(), 1};
  EXPECT_EQ(pivoted_lower(nan, 2, 0.25), -1);
}

/// Simulated inputs with known second moments: the damping that comes nearest to these is found without knowing them.
TEST(Damping, TheAutomaticOneIsNearTheBestForTheNumberOfTokens) {
  constexpr std::size_t k = 64;
  for (const int64_t tokens : {32, 256, 4096}) {
    Random random(static_cast<uint64_t>(tokens));
    std::vector<double> size(k), x(k);
    for (double& s : size) s = std::exp(0.5 * random.normal());
    double chosen_error = 0, more = 0, less = 0;  // over several draws
    for (int draw = 0; draw < 8; ++draw) {
      std::vector<double> sum(k * k);
      for (int64_t t = 0; t < tokens; ++t) {
        for (std::size_t i = 0; i < k; ++i) x[i] = size[i] * random.normal();
        for (std::size_t i = 0; i < k; ++i)
          for (std::size_t j = 0; j < k; ++j) sum[i * k + j] += x[i] * x[j];
      }
      const std::vector<float> hessian(sum.begin(), sum.end());
      double mean = 0;
      for (std::size_t i = 0; i < k; ++i) mean += sum[i * (k + 1)] / static_cast<double>(tokens * 64);
      // Squared distance of (S + d mean I) / (1 + d) to the truth.
      const auto distance = [&](double d) {
        double total = 0;
        for (std::size_t i = 0; i < k; ++i) {
          for (std::size_t j = 0; j < k; ++j) {
            const double s = sum[i * k + j] / static_cast<double>(tokens), truth = i == j ? size[i] * size[i] : 0.0;
            const double e = (s + (i == j ? d * mean : 0.0)) / (1 + d) - truth;
            total += e * e;
          }
        }
        return total;
      };
      const double chosen = automatic_damping(hessian, 64, tokens);
      chosen_error += distance(chosen);
      more += distance(chosen * 2);
      less += distance(chosen / 2);
    }
    EXPECT_LT(chosen_error, more) << tokens;
    EXPECT_LT(chosen_error, less) << tokens;
  }
}

TEST(Damping, AutoIsAnOptionOfEveryMethodWithAFactorAndIsRecorded) {
  const Layer layer = random_layer(32, 64, 8, 512);
  for (const char* text : {"gptq:bits=4,group=32,damp=auto", "awq+gptq:bits=4,group=32,damp=auto", "autoround:bits=4,group=32,damp=auto",
                           "spqr:damp=auto", "kquant:type=Q4_0,damp=auto", "ternary:damp=auto"}) {
    const LinearResult result = testing::quantize(text, layer.task());
    EXPECT_TRUE(noted(result, " chosen for 512 tokens")) << text;
  }
  EXPECT_FALSE(noted(testing::quantize("gptq:bits=4,group=32,damp=0.005", layer.task()), "chosen"));
  EXPECT_NE(parse_recipe("gptq:damp=most").status().message().find("expected a number from 0 to 1 or auto"), std::string::npos);
}

TEST(Ladder, MoreDampingThenPivotsThenNearest) {
  // One token in 64 columns: rank one, and no damping asked for.
  const Layer one = random_layer(16, 64, 8, 1);
  EXPECT_TRUE(noted(testing::quantize("gptq:bits=4,group=32,damp=0", one.task()), "damping raised from 0 to 0.0001"));
  // Two columns that contradict each other by more than damping may mend.
  Layer wrong = random_layer(16, 64, 8);
  const float d = wrong.stats.hessian[0];
  wrong.stats.hessian[1] = wrong.stats.hessian[64] = 50 * d;
  for (const char* text : {"gptq:bits=4,group=32", "gptq:bits=4,group=32,desc_act=true,act_group_aware=false", "gptq:bits=4,group=32,static_groups=true",
                           "spqr", "kquant:type=Q4_0", "ternary"}) {
    const LinearResult result = testing::quantize(text, wrong.task());
    EXPECT_TRUE(noted(result, "pivoted factorization, ")) << text;
    for (const float v : testing::dequantize(result.tensor)) ASSERT_TRUE(std::isfinite(v)) << text;
  }
  // Sums that no factorization can use.
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Layer broken = random_layer(16, 64, 8);
    broken.stats.hessian[3 * 64 + 7] = bad;
    const LinearResult result = testing::quantize("gptq:bits=4,group=32", broken.task());
    EXPECT_TRUE(noted(result, "at row 3, column 7")) << result.notes.front();
    EXPECT_TRUE(noted(result, "rounded to nearest instead"));
    EXPECT_TRUE(std::isfinite(result.error));
    EXPECT_EQ(testing::dequantize(result.tensor), testing::dequantize(testing::quantize("rtn:bits=4,group=32,mse=40", broken.task(false)).tensor));
  }
}

TEST(Ladder, CorrectionsThatAreNoNumbersAreLeftOut) {
  Layer layer = random_layer(16, 64, 8);
  const LinearResult plain = testing::quantize("gptq:bits=3,group=32,alpha=0,beta=0", layer.task());
  layer.stats.cross.assign(64 * 64, 0.0f);
  layer.stats.cross[70] = std::numeric_limits<float>::infinity();
  layer.stats.residual.assign(16 * 64, std::numeric_limits<float>::quiet_NaN());
  const LinearResult result = testing::quantize("gptq:bits=3,group=32", layer.task());
  EXPECT_TRUE(noted(result, "the error of the input is not finite somewhere: not corrected"));
  EXPECT_TRUE(noted(result, "the error of the residual stream is not finite somewhere: not corrected"));
  EXPECT_EQ(testing::dequantize(result.tensor), testing::dequantize(plain.tensor));
}

TEST(Trouble, RowsOfOneValueAreNamedByEveryMethod) {
  Layer layer = random_layer(24, 64, 8);
  for (const int64_t row : {2, 3, 5, 7, 11, 13})
    std::fill_n(layer.weight.begin() + row * 64, 64, 0.0f);
  std::fill_n(layer.weight.begin() + 17 * 64, 64, 0.03f);
  for (const Method* method : methods()) {
    const LinearResult result = testing::quantize(std::string(method->id()), layer.task());
    EXPECT_TRUE(noted(result, "6 of 24 rows hold zeros alone: 2, 3, 5, 7 and 2 more")) << method->id();
    EXPECT_TRUE(noted(result, "1 of 24 rows hold one value alone: 17")) << method->id();
    const auto values = testing::dequantize(result.tensor);
    for (std::size_t c = 0; c < 64; ++c) {
      EXPECT_LT(std::fabs(values[5 * 64 + c]), 1e-3) << method->id();  // spqr's rows share their scales
      ASSERT_TRUE(std::isfinite(values[17 * 64 + c])) << method->id();
    }
  }
}

}  // namespace
}  // namespace nbl::quant
