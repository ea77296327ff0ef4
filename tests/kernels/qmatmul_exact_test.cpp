// Every variant of qmatmul_exact: against double precision, bit for bit against the scalar reference, inside guard
// pages.
#include "kernels/qmatmul_exact/qmatmul_exact.h"

#include "kernel_testing.h"

namespace nbl::testing {
namespace {

using kernels::QmatmulExactArgs;
using kernels::QmatmulExactVariant;

struct Case {
  Segment segment;
  int64_t n, k, m;
  std::vector<float> x;  // [m][ldx], zeros beyond k
  int64_t ldx;
  std::vector<float> bias;
};

Case make_case(Random& random, int64_t n, int64_t k, int64_t m, const WeightSpec& spec, bool bias) {
  Case c{random_segment(random, n, k, spec), n, k, m, {}, round_up_to(k, 64), {}};
  c.x.assign(static_cast<std::size_t>(m * c.ldx), 0.0f);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < k; ++j) c.x[static_cast<std::size_t>(i * c.ldx + j)] = static_cast<float>(random.normal());
  if (bias)
    for (int64_t r = 0; r < n; ++r) c.bias.push_back(static_cast<float>(random.normal()));
  return c;
}

std::vector<float> run(const QmatmulExactVariant& variant, const Case& c, bool at_end, std::size_t shift = 0) {
  GuardedSegment w(c.segment, at_end, shift);
  Guarded x = guarded_copy(c.x.data(), c.x.size() * 4, at_end);
  Guarded bias = guarded_copy(c.bias.data(), c.bias.size() * 4, at_end);
  Guarded y(static_cast<std::size_t>(c.n * c.m) * 4, at_end);
  std::memset(y.as<char>(), 0xff, y.size());
  QmatmulExactArgs a;
  a.w = w.view;
  a.tile_begin = 0;
  a.tile_end = (c.n + 15) / 16;
  a.n = c.n;
  a.x = x.as<float>();
  a.ldx = c.ldx;
  a.m = c.m;
  a.y = y.as<float>();
  a.ldy = c.n;
  a.bias = c.bias.empty() ? nullptr : bias.as<float>();
  variant.run(&a);
  return std::vector<float>(y.as<float>(), y.as<float>() + c.n * c.m);
}

void check_double(const Case& c, const std::vector<float>& y) {
  const std::vector<float> w = dequantized(c.segment, c.n, c.k);
  for (int64_t i = 0; i < c.m; ++i)
    for (int64_t r = 0; r < c.n; ++r) {
      double sum = c.bias.empty() ? 0 : c.bias[static_cast<std::size_t>(r)];
      double size = std::fabs(sum);
      for (int64_t j = 0; j < c.k; ++j) {
        const double p = static_cast<double>(w[static_cast<std::size_t>(r * c.k + j)]) *
                         static_cast<double>(c.x[static_cast<std::size_t>(i * c.ldx + j)]);
        sum += p;
        size += std::fabs(p);
      }
      // A chain of at most 64 fused steps, three additions of partial sums, one addition a block of 256.
      const double steps = 64.0 + 3.0 + static_cast<double>(c.k) / 256.0 + 1.0;
      const double bound = steps * size * 0x1p-24 * 1.01 + 1e-37;
      const double got = static_cast<double>(y[static_cast<std::size_t>(i * c.n + r)]);
      ASSERT_LE(std::fabs(got - sum), bound) << "row " << r << " of activation " << i << ": " << got << " for " << sum;
    }
}

class ExactVariants : public ::testing::TestWithParam<int> {
 protected:
  static const QmatmulExactVariant& variant() {
    int count = 0;
    return kernels::qmatmul_exact_variants(&count)[GetParam()];
  }
  static const QmatmulExactVariant& reference() {
    int count = 0;
    const QmatmulExactVariant* all = kernels::qmatmul_exact_variants(&count);
    return all[count - 1];
  }
  void SetUp() override {
    if (!isa_usable(variant().isa)) GTEST_SKIP() << variant().name << " cannot run on this processor";
  }
};

void check_all(const QmatmulExactVariant& variant, const QmatmulExactVariant& reference, const Case& c) {
  const std::vector<float> y = run(variant, c, true);
  const std::vector<float> again = run(variant, c, false);
  const std::vector<float> expected = run(reference, c, true);
  ASSERT_EQ(std::memcmp(y.data(), expected.data(), y.size() * 4), 0) << "differs from the reference";
  ASSERT_EQ(std::memcmp(y.data(), again.data(), y.size() * 4), 0) << "depends on where its memory lies";
  check_double(c, y);
}

TEST_P(ExactVariants, EveryEncodingAtSizesAroundTheTile) {
  const uint64_t seed = test_seed(11);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  const int64_t sizes[] = {1, 15, 16, 17, 63, 64, 65, 127, 200, 257, 300};
  const int64_t batches[] = {1, 2, 3, 5, 7, 13, 25};
  std::size_t at = 0;
  for (const WeightSpec& spec : all_specs())
    for (int repeat = 0; repeat < 4; ++repeat, ++at) {
      const int64_t n = sizes[random.below(std::size(sizes))];
      const int64_t k = sizes[random.below(std::size(sizes))];
      const int64_t m = batches[at % std::size(batches)];
      SCOPED_TRACE(spec.text() + ", n " + std::to_string(n) + " k " + std::to_string(k) + " m " + std::to_string(m));
      const Case c = make_case(random, n, k, m, spec, random.below(2) == 0);
      check_all(variant(), reference(), c);
      if (HasFatalFailure()) return;
    }
}

TEST_P(ExactVariants, AnActivationRowDoesNotSeeTheOthers) {
  const uint64_t seed = test_seed(12);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  for (const WeightSpec& spec : all_specs()) {
    SCOPED_TRACE(spec.text());
    const Case c = make_case(random, 40, 320, 31, spec, true);
    const std::vector<float> together = run(variant(), c, true);
    for (const int64_t i : {int64_t{0}, int64_t{11}, int64_t{12}, int64_t{30}}) {
      Case one = c;
      one.m = 1;
      one.x.assign(c.x.begin() + i * c.ldx, c.x.begin() + (i + 1) * c.ldx);
      const std::vector<float> y = run(variant(), one, true);
      ASSERT_EQ(std::memcmp(y.data(), together.data() + i * c.n, static_cast<std::size_t>(c.n) * 4), 0) << "row " << i;
    }
  }
}

TEST(FullQmatmulExact, RandomCases) {
  const uint64_t seed = test_seed(2027);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  int count = 0;
  const QmatmulExactVariant* all = kernels::qmatmul_exact_variants(&count);
  std::vector<const QmatmulExactVariant*> usable;
  for (int v = 0; v < count; ++v)
    if (isa_usable(all[v].isa)) usable.push_back(all + v);
  for (int i = 0; i < random_cases(); ++i) {
    const int64_t n = random_size(random), k = n > 1000 ? 1 + static_cast<int64_t>(random.below(65)) : random_size(random);
    const int64_t m = 1 + static_cast<int64_t>(random.below(k > 1000 ? 8 : 30));
    const WeightSpec spec = random_spec(random, k);
    const QmatmulExactVariant& variant = *usable[random.below(usable.size())];
    SCOPED_TRACE("case " + std::to_string(i) + " " + variant.name + ": " + spec.text() + ", n " + std::to_string(n) + " k " +
                 std::to_string(k) + " m " + std::to_string(m));
    Case c = make_case(random, n, k, m, spec, random.below(2) == 0);
    if (random.below(8) == 0)
      for (float& v : c.x) v *= 1e-30f;
    const std::vector<float> y = run(variant, c, random.below(2) == 0, random.below(64));
    const std::vector<float> expected = run(all[count - 1], c, true);
    ASSERT_EQ(std::memcmp(y.data(), expected.data(), y.size() * 4), 0);
    check_double(c, y);
    if (HasFatalFailure()) return;
  }
}

std::string variant_name(const ::testing::TestParamInfo<int>& info) {
  int count = 0;
  return kernels::qmatmul_exact_variants(&count)[info.param].name;
}

int variant_count() {
  int count = 0;
  kernels::qmatmul_exact_variants(&count);
  return count;
}

INSTANTIATE_TEST_SUITE_P(All, ExactVariants, ::testing::Range(0, variant_count()), variant_name);

}  // namespace
}  // namespace nbl::testing
