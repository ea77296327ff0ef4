#include "kernels/gram/gram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/random.h"
#include "kernels/guard_pages.h"
#include "random_cases.h"

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

float bf16_value(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

void check_bf16(Random& random, const kernels::GramBf16Variant& variant, int64_t tokens, int64_t columns) {
  const int64_t ldx = columns, pairs = (tokens + 1) / 2;
  testing::Guarded<float> x(static_cast<std::size_t>(tokens * ldx)), minus(static_cast<std::size_t>(tokens * ldx));
  for (float& f : x.span()) f = static_cast<float>(random.normal());
  for (float& f : minus.span()) f = static_cast<float>(random.normal());
  testing::Guarded<uint16_t> a(static_cast<std::size_t>(pairs * 2 * kGramPanel)), b(a.size());
  kernels::GramPackArgs pack;
  pack.x = x.data();
  pack.ldx = ldx;
  pack.tokens = tokens;
  pack.columns = columns;
  pack.out = a.data();
  variant.pack(&pack);
  pack.minus = minus.data();
  pack.ld_minus = ldx;
  pack.out = b.data();
  variant.pack(&pack);
  testing::Guarded<uint16_t> factored(a.size());
  testing::Guarded<float> factor(static_cast<std::size_t>(tokens));
  for (float& f : factor.span()) f = static_cast<float>(random.uniform());
  pack.factor = factor.data();
  pack.out = factored.data();
  variant.pack(&pack);
  // Packed values are the nearest bfloat16; what is missing to a panel is zero.
  const auto at = [](testing::Guarded<uint16_t>& p, int64_t t, int64_t c) {
    return bf16_value(p[static_cast<std::size_t>((t / 2 * kGramPanel + c) * 2 + t % 2)]);
  };
  for (int64_t t = 0; t < 2 * pairs; ++t) {
    for (int64_t c = 0; c < kGramPanel; ++c) {
      const std::size_t i = static_cast<std::size_t>(t * ldx + c);
      const bool inside = t < tokens && c < columns;
      const float expected = inside ? x[i] : 0.0f, difference = inside ? x[i] - minus[i] : 0.0f;
      ASSERT_NEAR(at(a, t, c), expected, std::ldexp(std::fabs(expected), -8)) << t << ", " << c;
      const float product = inside ? difference * factor[static_cast<std::size_t>(t)] : 0.0f;
      ASSERT_NEAR(at(factored, t, c), product, std::ldexp(std::fabs(product), -8)) << t << ", " << c;
      ASSERT_NEAR(at(b, t, c), difference, std::ldexp(std::fabs(difference), -8)) << t << ", " << c;
    }
  }
  testing::Guarded<float> sums(kGramPanel * kGramPanel);
  for (float& f : sums.span()) f = 0.5f;
  kernels::GramBf16Args args;
  args.a = a.data();
  args.b = b.data();
  args.c = sums.data();
  args.pairs = pairs;
  variant.fn(&args);
  for (int64_t i = 0; i < kGramPanel; ++i) {
    for (int64_t j = 0; j < kGramPanel; ++j) {
      double expected = 0.5, bound = 0.5;
      for (int64_t t = 0; t < tokens; ++t) {
        const double p = static_cast<double>(at(a, t, i)) * static_cast<double>(at(b, t, j));
        expected += p;
        bound += std::fabs(p);
      }
      ASSERT_NEAR(sums[static_cast<std::size_t>(i * kGramPanel + j)], expected,
                  static_cast<double>(pairs + 1) * std::ldexp(bound, -22));
    }
  }
}

template <class Test>
void for_each_bf16_variant(Test&& test) {
  int count = 0;
  const kernels::GramBf16Variant* variants = kernels::gram_bf16_variants(&count);
  for (int v = 0; v < count; ++v) {
    if (!isa_usable(static_cast<Isa>(variants[v].isa))) {
      std::printf("this processor cannot run %s: not tested\n", variants[v].name);
      continue;
    }
    SCOPED_TRACE(variants[v].name);
    test(variants[v]);
  }
}

TEST(Gram, Bf16VariantsPackAndMultiply) {
  for_each_bf16_variant([](const kernels::GramBf16Variant& variant) {
    for (int64_t tokens : {1, 2, 7, 128, 257}) {
      for (int64_t columns : {1, 15, 16, 40, 48}) {
        SCOPED_TRACE(::testing::Message() << tokens << " tokens, " << columns << " columns");
        Random random(static_cast<uint64_t>(tokens * 100 + columns));
        check_bf16(random, variant, tokens, columns);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  });
}

TEST(FullGramBf16, RandomCases) {
  const uint64_t seed = test::test_seed(2035);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  for_each_bf16_variant([&](const kernels::GramBf16Variant& variant) {
    for (int i = 0; i < test::random_cases(); ++i) {
      const auto tokens = static_cast<int64_t>(1 + random.below(19)), columns = static_cast<int64_t>(1 + random.below(kGramPanel));
      SCOPED_TRACE(::testing::Message() << "case " << i << ", " << tokens << " tokens, " << columns << " columns");
      check_bf16(random, variant, tokens, columns);
      if (::testing::Test::HasFatalFailure()) return;
    }
  });
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
