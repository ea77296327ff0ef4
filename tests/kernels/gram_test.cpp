#include "kernels/gram/gram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/cpu.h"
#include "base/random.h"
#include "kernels/guard_pages.h"

namespace nbl {
namespace {

using kernels::GramArgs;
using kernels::GramVariant;
using kernels::kGramPanel;

TEST(Gram, EveryVariantAgreesWithDoublePrecision) {
  int count = 0;
  const GramVariant* variants = kernels::gram_variants(&count);
  ASSERT_GE(count, 1);
  EXPECT_EQ(variants[count - 1].isa, 0) << "the last variant must run everywhere";
  const uint64_t seed = 20240611;
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  for (int v = 0; v < count; ++v) {
    if (!isa_usable(static_cast<Isa>(variants[v].isa))) {
      std::printf("this processor cannot run %s: not tested\n", variants[v].name);
      continue;
    }
    for (int64_t steps : {1, 2, 7, 128, 513}) {
      SCOPED_TRACE(::testing::Message() << variants[v].name << ", " << steps << " steps");
      Random random(seed + static_cast<uint64_t>(steps));
      const std::size_t floats = static_cast<std::size_t>(steps) * kGramPanel;
      testing::Guarded<float> a(floats), b(floats);
      for (float& x : a.span()) x = static_cast<float>(random.normal());
      for (float& x : b.span()) x = static_cast<float>(random.normal());
      testing::Guarded<float> c(kGramPanel * kGramPanel);
      std::vector<double> expected(c.size()), bound(c.size());
      for (std::size_t i = 0; i < c.size(); ++i) expected[i] = c[i] = static_cast<float>(random.normal());
      for (int64_t t = 0; t < steps; ++t) {
        for (int i = 0; i < kGramPanel; ++i) {
          for (int j = 0; j < kGramPanel; ++j) {
            const double p = static_cast<double>(a[static_cast<std::size_t>(t * kGramPanel + i)]) *
                             static_cast<double>(b[static_cast<std::size_t>(t * kGramPanel + j)]);
            expected[static_cast<std::size_t>(i * kGramPanel + j)] += p;
            bound[static_cast<std::size_t>(i * kGramPanel + j)] += std::fabs(p);
          }
        }
      }
      GramArgs args;
      args.a = a.data();
      args.b = b.data();
      args.c = c.data();
      args.steps = steps;
      variants[v].fn(&args);
      for (std::size_t i = 0; i < c.size(); ++i) {
        const double allowed =
            static_cast<double>(steps + 1) * std::ldexp(1.0, -23) * (bound[i] + std::fabs(expected[i]) + 1.0);
        ASSERT_NEAR(c[i], expected[i], allowed) << "element " << i;
      }
    }
  }
}

TEST(Gram, SelectionTakesTheBestUsableVariant) {
  const GramVariant* none = kernels::gram_select([](int) { return false; });
  EXPECT_EQ(none->isa, 0);
  int count = 0;
  const GramVariant* variants = kernels::gram_variants(&count);
  EXPECT_EQ(kernels::gram_select([](int) { return true; }), &variants[0]);
}

}  // namespace
}  // namespace nbl
