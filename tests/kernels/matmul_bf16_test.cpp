// Every variant of matmul_bf16 against double precision of the rounded factors, inside guard pages.
#include "kernels/matmul_bf16/matmul_bf16.h"

#include "base/half.h"
#include "kernel_testing.h"

namespace nbl::testing {
namespace {

using kernels::MatmulBf16Args;
using kernels::MatmulBf16Variant;

class Bf16Variants : public ::testing::TestWithParam<int> {
 protected:
  static const MatmulBf16Variant& variant() {
    int count = 0;
    return kernels::matmul_bf16_variants(&count)[GetParam()];
  }
  void SetUp() override {
    if (!isa_usable(variant().isa)) GTEST_SKIP() << variant().name << " cannot run on this processor";
  }
};

std::vector<float> run(const MatmulBf16Variant& variant, const Segment& segment, int64_t n, int64_t m,
                       const std::vector<uint16_t>& x, const std::vector<float>& bias, const std::vector<float>& before,
                       bool at_end) {
  GuardedSegment w(segment, at_end);
  Guarded xg = guarded_copy(x.data(), x.size() * 2, at_end);
  Guarded bg = guarded_copy(bias.data(), bias.size() * 4, at_end);
  Guarded y = guarded_copy(before.data(), before.size() * 4, at_end);
  MatmulBf16Args a;
  a.w = w.view;
  a.tile_end = (n + 15) / 16;
  a.n = n;
  a.m = m;
  a.x = xg.as<uint16_t>();
  a.y = y.as<float>();
  a.ldy = n;
  a.bias = bias.empty() ? nullptr : bg.as<float>();
  a.accumulate = bias.empty();
  variant.run(&a);
  return std::vector<float>(y.as<float>(), y.as<float>() + n * m);
}

void check_case(Random& random, const MatmulBf16Variant& variant, DType type, int64_t n, int64_t k, int64_t m, bool with_bias) {
  SCOPED_TRACE(std::string(variant.name) + " " + std::string(dtype_name(type)) + " n " + std::to_string(n) + " k " +
               std::to_string(k) + " m " + std::to_string(m));
  const Segment segment =
      random_segment(random, n, k, {Encoding::dense, 0, 0, DType::f32, ZeroKind::symmetric, DType::f16, type});
  const int64_t columns = round_up_to(k, 64);
  std::vector<uint16_t> x(static_cast<std::size_t>(columns * m));
  std::vector<float> xf(static_cast<std::size_t>(m * k));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p) {
      const uint16_t v = f32_to_bf16(static_cast<float>(random.normal()));
      x[static_cast<std::size_t>((p / 32 * m + i) * 32 + p % 32)] = v;
      xf[static_cast<std::size_t>(i * k + p)] = bf16_to_f32(v);
    }
  std::vector<float> bias, before(static_cast<std::size_t>(n * m));
  if (with_bias)
    for (int64_t r = 0; r < n; ++r) bias.push_back(static_cast<float>(random.normal()));
  for (float& v : before) v = static_cast<float>(random.normal());
  const std::vector<float> y = run(variant, segment, n, m, x, bias, before, true);
  const std::vector<float> again = run(variant, segment, n, m, x, bias, before, false);
  ASSERT_EQ(std::memcmp(y.data(), again.data(), y.size() * 4), 0);
  const std::vector<float> w = dequantized(segment, n, k);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t r = 0; r < n; ++r) {
      const auto at = static_cast<std::size_t>(i * n + r);
      double sum = static_cast<double>(bias.empty() ? before[at] : bias[static_cast<std::size_t>(r)]);
      double size = std::fabs(sum);
      for (int64_t p = 0; p < k; ++p) {
        const float rounded = bf16_to_f32(f32_to_bf16(w[static_cast<std::size_t>(r * k + p)]));
        const double v =
            static_cast<double>(rounded) * static_cast<double>(xf[static_cast<std::size_t>(i * k + p)]);
        sum += v;
        size += std::fabs(v);
      }
      // Sequential float32 sums: an ulp a pair of columns, and what flushing denormals loses.
      const double bound = size * (static_cast<double>(k) / 2 + 8) * 0x1p-24 + 1e-30;
      ASSERT_LE(std::fabs(static_cast<double>(y[at]) - sum), bound) << "row " << r << " of activation " << i;
    }
}

TEST_P(Bf16Variants, EveryTypeAtSizesAroundTheTile) {
  const uint64_t seed = test_seed(31);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  const int64_t sizes[] = {1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 257, 600};
  const int64_t batches[] = {1, 3, 12, 16, 17, 31, 32, 33, 48, 49, 64, 100};
  for (const DType type : {DType::bf16, DType::f16, DType::e4m3})
    for (int repeat = 0; repeat < 30; ++repeat) {
      const int64_t n = sizes[random.below(std::size(sizes) - 2)];
      const int64_t k = sizes[random.below(std::size(sizes))];
      const int64_t m = repeat == 0 ? 300 : batches[random.below(std::size(batches))];
      check_case(random, variant(), type, n, k, m, repeat % 2 == 0);
      if (HasFatalFailure()) return;
    }
}

TEST(FullMatmulBf16, RandomCases) {
  const uint64_t seed = test_seed(2028);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  int count = 0;
  const MatmulBf16Variant* all = kernels::matmul_bf16_variants(&count);
  std::vector<const MatmulBf16Variant*> usable;
  for (int v = 0; v < count; ++v)
    if (isa_usable(all[v].isa)) usable.push_back(all + v);
  if (usable.empty()) GTEST_SKIP() << "no variant can run on this processor";
  constexpr DType kTypes[] = {DType::bf16, DType::f16, DType::e4m3};
  for (int i = 0; i < random_cases(); ++i) {
    const int64_t n = random_size(random), k = n > 1000 ? 1 + static_cast<int64_t>(random.below(65)) : random_size(random);
    const int64_t m = 1 + static_cast<int64_t>(random.below(n > 1000 || k > 1000 ? 9 : 40));
    const MatmulBf16Variant& variant = *usable[random.below(usable.size())];
    check_case(random, variant, kTypes[random.below(3)], n, k, m, random.below(2) == 0);
    if (HasFatalFailure()) return;
  }
}

std::string bf16_name(const ::testing::TestParamInfo<int>& info) {
  int count = 0;
  return kernels::matmul_bf16_variants(&count)[info.param].name;
}
int bf16_count() {
  int count = 0;
  kernels::matmul_bf16_variants(&count);
  return count;
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Bf16Variants);
INSTANTIATE_TEST_SUITE_P(All, Bf16Variants, ::testing::Range(0, bf16_count()), bf16_name);

}  // namespace
}  // namespace nbl::testing
