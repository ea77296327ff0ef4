#include "kernels/logits/logits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/cpu.h"
#include "base/random.h"
#include "kernels/guard_pages.h"

namespace nbl {
namespace {

using kernels::LogitKernels;
using kernels::LogitSums;

class EveryVariant : public ::testing::Test {
 protected:
  template <class F>
  void each(F&& f) {
    int count = 0;
    const LogitKernels* all = kernels::logit_kernels(&count);
    for (int v = 0; v < count; ++v) {
      if (!isa_usable(static_cast<Isa>(all[v].isa))) {
        std::printf("this processor cannot run %s: not tested\n", all[v].name);
        continue;
      }
      SCOPED_TRACE(all[v].name);
      f(all[v]);
    }
  }
};
using Logits = EveryVariant;

constexpr int64_t kSizes[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 127, 128, 129, 512, 1000, 8192};

TEST_F(Logits, MaximumIsTheFirstOfEquals) {
  each([](const LogitKernels& k) {
    for (int64_t n : kSizes) {
      Random random(static_cast<uint64_t>(n));
      testing::Guarded<float> x(static_cast<std::size_t>(n));
      for (float& v : x.span()) v = static_cast<float>(random.normal()) - 5.0f;
      const std::size_t second = random.below(static_cast<uint64_t>(n)), first = random.below(second + 1);
      x[first] = x[second] = 3.5f;
      int64_t index = -1;
      EXPECT_EQ(k.max(x.data(), n, &index), 3.5f) << n;
      EXPECT_EQ(index, static_cast<int64_t>(first)) << n;
    }
  });
}

TEST_F(Logits, SumsAgreeWithDoublePrecision) {
  each([](const LogitKernels& k) {
    for (int64_t n : kSizes) {
      for (double spread : {0.1, 3.0, 40.0}) {
        SCOPED_TRACE(::testing::Message() << "n " << n << " spread " << spread);
        Random random(static_cast<uint64_t>(n) * 7 + 1);
        testing::Guarded<float> a(static_cast<std::size_t>(n)), b(static_cast<std::size_t>(n));
        for (std::size_t i = 0; i < a.size(); ++i) {
          a[i] = static_cast<float>(random.normal() * spread);
          b[i] = a[i] + static_cast<float>(random.normal() * 0.1);
        }
        int64_t index = 0;
        const float max_a = k.max(a.data(), n, &index), max_b = k.max(b.data(), n, &index);
        double sa = 0, sb = 0, cross = 0, size = 0;
        for (std::size_t i = 0; i < a.size(); ++i) {
          const double ea = std::exp(static_cast<double>(a[i]) - max_a), d = static_cast<double>(a[i]) - b[i];
          sa += ea;
          sb += std::exp(static_cast<double>(b[i]) - max_b);
          cross += ea * d;
          size += ea * std::fabs(d);
        }
        LogitSums sums;
        k.sums(a.data(), b.data(), n, max_a, max_b, &sums);
        // Subtracting the maximum rounds: half a unit in the last place of the difference becomes relative error of
        // exp.
        const double relative = 1e-6 + spread * 1e-7;
        EXPECT_NEAR(sums.sum_a, sa, relative * sa);
        EXPECT_NEAR(sums.sum_b, sb, relative * sb);
        EXPECT_NEAR(sums.cross, cross, relative * size + 1e-30);
        EXPECT_DOUBLE_EQ(k.sum_exp(a.data(), n, max_a), sums.sum_a);
      }
    }
  });
}

TEST_F(Logits, EqualRowsDivergeByExactlyNothing) {
  each([](const LogitKernels& k) {
    for (int64_t n : kSizes) {
      Random random(static_cast<uint64_t>(n) + 3);
      std::vector<float> a(static_cast<std::size_t>(n));
      for (float& v : a) v = static_cast<float>(random.normal() * 5);
      const std::vector<float> b = a;
      int64_t index = 0;
      const float max = k.max(a.data(), n, &index);
      LogitSums sums;
      k.sums(a.data(), b.data(), n, max, max, &sums);
      EXPECT_EQ(sums.cross, 0.0);
      EXPECT_EQ(sums.sum_a, sums.sum_b);
    }
  });
}

TEST_F(Logits, ForbiddenTokensAndBrokenRows) {
  each([](const LogitKernels& k) {
    const float inf = std::numeric_limits<float>::infinity();
    std::vector<float> a(100, 1.0f), b(100, 1.0f);
    for (std::size_t i = 0; i < a.size(); i += 3) a[i] = b[i] = -inf;
    int64_t index = 0;
    const float max = k.max(a.data(), 100, &index);
    EXPECT_EQ(max, 1.0f);
    EXPECT_EQ(index, 1);
    LogitSums sums;
    k.sums(a.data(), b.data(), 100, max, max, &sums);
    EXPECT_NEAR(sums.sum_a, 66.0, 1e-5);
    EXPECT_EQ(sums.cross, 0.0);
    a[50] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(std::isnan(k.sum_exp(a.data(), 100, max)));
    k.sums(a.data(), b.data(), 100, max, max, &sums);
    EXPECT_TRUE(std::isnan(sums.sum_a));
  });
}

}  // namespace
}  // namespace nbl
