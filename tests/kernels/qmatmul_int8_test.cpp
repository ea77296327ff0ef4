// Every variant of qmatmul_int8 and prepare_input: bit for bit against the scalar references, within the derived bound
// of the exact product, inside guard pages.
#include "kernels/qmatmul_int8/qmatmul_int8.h"

#include <numeric>

#include "base/half.h"
#include "kernel_testing.h"
#include "kernels/prepare_input/prepare_input.h"

namespace nbl::testing {
namespace {

using kernels::PrepareInputArgs;
using kernels::PrepareInputVariant;
using kernels::QmatmulInt8Args;
using kernels::QmatmulInt8Variant;

struct Quantized {
  int64_t m, columns, step;
  std::vector<int8_t> q;
  std::vector<float> d, sums, dsums, f32;
  std::vector<uint16_t> bf16;
};

// x [m][k] through `variant`, output in guarded memory.
Quantized prepare(const PrepareInputVariant& variant, const std::vector<float>& x, int64_t m, int64_t k, int64_t step,
                  const std::vector<int32_t>& order, const std::vector<float>& scale, bool at_end, int64_t planes = 1) {
  Quantized out{m, round_up_to(k, 64), step, {}, {}, {}, {}, {}, {}};
  const int64_t steps = (out.columns + step - 1) / step;
  const auto count = static_cast<std::size_t>(planes * steps * m);
  Guarded q(static_cast<std::size_t>(planes * out.columns * m), at_end), d(count * 4, at_end), sums(count * 4, at_end),
      dsums(count * 4, at_end), f32(static_cast<std::size_t>(out.columns * m) * 4, at_end),
      bf16(static_cast<std::size_t>(out.columns * m) * 2, at_end);
  Guarded xg = guarded_copy(x.data(), x.size() * 4, at_end);
  Guarded og = guarded_copy(order.data(), order.size() * 4, at_end);
  Guarded sg = guarded_copy(scale.data(), scale.size() * 4, at_end);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t begin = 0; begin < out.columns; begin += 256) {
      PrepareInputArgs a;
      a.x = xg.as<float>() + i * k;
      a.order = order.empty() ? nullptr : og.as<int32_t>();
      a.scale = scale.empty() ? nullptr : sg.as<float>();
      a.k = k;
      a.begin = begin;
      a.end = std::min(out.columns, begin + 256);
      a.f32 = f32.as<float>() + i * out.columns;
      a.bf16 = bf16.as<uint16_t>() + i * 32;
      a.bf16_stride = m * 32;
      a.q = q.as<int8_t>() + i * 64;
      a.q_stride = m * 64;
      a.step = step;
      a.d = d.as<float>() + i;
      a.sums = sums.as<float>() + i;
      a.dsums = dsums.as<float>() + i;
      a.d_stride = m;
      if (planes == 2) {
        a.low_plane = out.columns * m;
        a.low_scales = steps * m;
      }
      variant.run(&a);
    }
  out.q.assign(q.as<int8_t>(), q.as<int8_t>() + q.size());
  out.d.assign(d.as<float>(), d.as<float>() + count);
  out.sums.assign(sums.as<float>(), sums.as<float>() + count);
  out.dsums.assign(dsums.as<float>(), dsums.as<float>() + count);
  out.bf16.assign(bf16.as<uint16_t>(), bf16.as<uint16_t>() + out.columns * m);
  out.f32.assign(f32.as<float>(), f32.as<float>() + out.columns * m);
  return out;
}

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

const PrepareInputVariant& prepare_reference() {
  int count = 0;
  const PrepareInputVariant* all = kernels::prepare_input_variants(&count);
  return all[count - 1];
}

class PrepareVariants : public ::testing::TestWithParam<int> {
 protected:
  static const PrepareInputVariant& variant() {
    int count = 0;
    return kernels::prepare_input_variants(&count)[GetParam()];
  }
  void SetUp() override {
    if (!isa_usable(variant().isa)) GTEST_SKIP() << variant().name << " cannot run on this processor";
  }
};

TEST_P(PrepareVariants, SameBytesAsTheReferenceAndWithinHalfAStep) {
  const uint64_t seed = test_seed(21);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  for (const int64_t k : {1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 300, 576, 1000})
    for (const int64_t step : {16, 32, 64, 128}) {
      SCOPED_TRACE("k " + std::to_string(k) + " step " + std::to_string(step));
      const int64_t m = 1 + static_cast<int64_t>(random.below(4));
      std::vector<float> x(static_cast<std::size_t>(m * k));
      for (float& v : x) v = static_cast<float>(random.normal() * std::exp(4 * random.normal()));
      if (k > 64) std::fill(x.begin(), x.begin() + 40, 0.0f);
      if (k > 200) x[150] = 1e-40f;
      std::vector<int32_t> order;
      std::vector<float> scale;
      if (random.below(2) == 0) {
        order.resize(static_cast<std::size_t>(k));
        std::iota(order.begin(), order.end(), 0);
        for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
      }
      if (random.below(2) == 0)
        for (int64_t j = 0; j < k; ++j) scale.push_back(random.uniform() + 0.5f);
      const int64_t planes = 1 + static_cast<int64_t>(random.below(2));
      const Quantized got = prepare(variant(), x, m, k, step, order, scale, true, planes);
      const Quantized got2 = prepare(variant(), x, m, k, step, order, scale, false, planes);
      const Quantized want = prepare(prepare_reference(), x, m, k, step, order, scale, true, planes);
      ASSERT_TRUE(same(got.q, want.q));
      ASSERT_TRUE(same(got.d, want.d));
      ASSERT_TRUE(same(got.sums, want.sums));
      ASSERT_TRUE(same(got.dsums, want.dsums));
      ASSERT_TRUE(same(got.f32, want.f32));
      ASSERT_TRUE(same(got.bf16, want.bf16));
      ASSERT_TRUE(same(got.q, got2.q));
      for (int64_t i = 0; i < m; ++i)
        for (int64_t p = 0; p < got.columns; ++p) {
          const int64_t c = p < k && !order.empty() ? order[static_cast<std::size_t>(p)] : p;
          float v = p < k ? x[static_cast<std::size_t>(i * k + c)] : 0.0f;
          if (p < k && !scale.empty()) v *= scale[static_cast<std::size_t>(c)];
          ASSERT_EQ(v, got.f32[static_cast<std::size_t>(i * got.columns + p)]);
          ASSERT_EQ(f32_to_bf16(v), got.bf16[static_cast<std::size_t>((p / 32 * m + i) * 32 + p % 32)]);
          const float d = got.d[static_cast<std::size_t>(p / step * m + i)];
          const int q = got.q[static_cast<std::size_t>((p / 64 * m + i) * 64 + p % 64)];
          ASSERT_GE(q, -127);
          ASSERT_LE(std::fabs(static_cast<float>(q) * d - v), d * 0.50001f + 1e-35f) << "column " << p;
          if (planes == 1) continue;
          const int low = got.q[static_cast<std::size_t>(got.columns * m + (p / 64 * m + i) * 64 + p % 64)];
          const float finer = got.d[got.d.size() / 2 + static_cast<std::size_t>(p / step * m + i)];
          ASSERT_GE(low, -127);
          const double both = static_cast<double>(q) * static_cast<double>(d) + static_cast<double>(low) * static_cast<double>(finer);
          ASSERT_LE(std::fabs(both - static_cast<double>(v)), static_cast<double>(d) / 500 + 1e-35) << "column " << p;
        }
    }
}

TEST(FullPrepareInput, RandomCases) {
  const uint64_t seed = test_seed(2030);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  int count = 0;
  const PrepareInputVariant* all = kernels::prepare_input_variants(&count);
  std::vector<const PrepareInputVariant*> usable;
  for (int v = 0; v < count; ++v)
    if (isa_usable(all[v].isa)) usable.push_back(all + v);
  constexpr int64_t kSteps[] = {16, 32, 64, 128};
  for (int i = 0; i < random_cases(); ++i) {
    const PrepareInputVariant& variant = *usable[random.below(usable.size())];
    const int64_t k = random_size(random), m = 1 + static_cast<int64_t>(random.below(3)), step = kSteps[random.below(4)];
    SCOPED_TRACE("case " + std::to_string(i) + " " + variant.name + " k " + std::to_string(k) + " step " + std::to_string(step));
    std::vector<float> x(static_cast<std::size_t>(m * k)), scale;
    const double spread = random.uniform() * 30;
    for (float& v : x) v = static_cast<float>(random.normal() * std::exp(spread * random.normal()));
    if (random.below(4) == 0)
      for (float& v : x) v = std::isfinite(v) ? v * 1e-30f : 0.0f;
    for (float& v : x)
      if (!(std::fabs(v) < 1e30f)) v = 1.0f;
    std::vector<int32_t> order;
    if (random.below(2) == 0) {
      order.resize(static_cast<std::size_t>(k));
      std::iota(order.begin(), order.end(), 0);
      for (std::size_t j = order.size(); j > 1; --j) std::swap(order[j - 1], order[random.below(j)]);
    }
    if (random.below(2) == 0)
      for (int64_t j = 0; j < k; ++j) scale.push_back(random.uniform() + 0.5f);
    const Quantized got = prepare(variant, x, m, k, step, order, scale, random.below(2) == 0);
    const Quantized want = prepare(prepare_reference(), x, m, k, step, order, scale, true);
    ASSERT_TRUE(same(got.q, want.q) && same(got.d, want.d) && same(got.sums, want.sums) && same(got.dsums, want.dsums));
    ASSERT_TRUE(same(got.f32, want.f32) && same(got.bf16, want.bf16));
    for (int64_t r = 0; r < m; ++r)
      for (int64_t p = 0; p < k; ++p) {
        const double v = static_cast<double>(got.f32[static_cast<std::size_t>(r * got.columns + p)]);
        const double d = static_cast<double>(got.d[static_cast<std::size_t>(p / step * m + r)]);
        const double q = got.q[static_cast<std::size_t>((p / 64 * m + r) * 64 + p % 64)];
        ASSERT_LE(std::fabs(q * d - v), d * 0.50001 + 1e-35) << "column " << p;
      }
  }
}

TEST_P(PrepareVariants, NonFiniteInputsShow) {
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> x(128, 1.0f);
    x[37] = bad;
    const Quantized got = prepare(variant(), x, 1, 128, 64, {}, {}, true);
    EXPECT_FALSE(std::isfinite(got.d[0]));
    EXPECT_EQ(got.d[1], 1.0f / 127.0f);
  }
}

struct Case {
  Segment segment;
  int64_t n, k, m, step;
  std::vector<float> x;  // [m][k]
  std::vector<float> bias;
  Quantized q;
};

int64_t step_for(const WeightSpec& spec, int64_t k) {
  return spec.group_size == 0 || spec.group_size >= k ? 128 : std::gcd(int64_t{128}, spec.group_size);
}

Case make_case(Random& random, int64_t n, int64_t k, int64_t m, const WeightSpec& spec, bool bias) {
  Case c{random_segment(random, n, k, spec), n, k, m, step_for(spec, k), {}, {}, {}};
  for (int64_t i = 0; i < m * k; ++i) c.x.push_back(static_cast<float>(random.normal()));
  if (bias)
    for (int64_t r = 0; r < n; ++r) c.bias.push_back(static_cast<float>(random.normal()));
  c.q = prepare(prepare_reference(), c.x, m, k, c.step, {}, {}, true);
  return c;
}

std::vector<float> run(const QmatmulInt8Variant& variant, const Case& c, bool at_end, std::size_t shift = 0) {
  GuardedSegment w(c.segment, at_end, shift);
  Guarded x = guarded_copy(c.q.q.data(), c.q.q.size(), at_end);
  Guarded d = guarded_copy(c.q.d.data(), c.q.d.size() * 4, at_end);
  Guarded sums = guarded_copy(c.q.sums.data(), c.q.sums.size() * 4, at_end);
  Guarded dsums = guarded_copy(c.q.dsums.data(), c.q.dsums.size() * 4, at_end);
  Guarded bias = guarded_copy(c.bias.data(), c.bias.size() * 4, at_end);
  Guarded y(static_cast<std::size_t>(c.n * c.m) * 4, at_end);
  std::memset(y.as<char>(), 0xff, y.size());
  QmatmulInt8Args a;
  a.w = w.view;
  a.tile_end = (c.n + 15) / 16;
  a.n = c.n;
  a.m = c.m;
  a.x = x.as<int8_t>();
  a.step = c.step;
  a.d = d.as<float>();
  a.sums = sums.as<float>();
  a.dsums = dsums.as<float>();
  a.y = y.as<float>();
  a.ldy = c.n;
  a.bias = c.bias.empty() ? nullptr : bias.as<float>();
  variant.run(&a);
  std::vector<float> result(y.as<float>(), y.as<float>() + c.n * c.m);
  if (c.m > 4) {  // smaller blocks of activation rows change nothing
    std::memset(y.as<char>(), 0xff, y.size());
    a.block_rows = (c.n + c.m) % 2 == 0 ? 4 : 8;
    variant.run(&a);
    EXPECT_EQ(std::memcmp(result.data(), y.as<char>(), y.size()), 0) << "blocks of " << a.block_rows << " rows";
  }
  return result;
}

// The bound that the family's header derives.
void check_bound(const Case& c, const WeightSpec& spec, const std::vector<float>& y) {
  const std::vector<float> w = dequantized(c.segment, c.n, c.k);
  const kernels::SegmentView view = segment_view(c.segment);
  double table_error = 0;
  if (spec.encoding == Encoding::codebook || spec.encoding == Encoding::trellis)
    for (int i = 0; i < 16; ++i)
      table_error = std::max(table_error, std::fabs(static_cast<double>(view.table[i]) -
                                                    static_cast<double>(view.table_step) * view.table_i8[i]));
  for (int64_t i = 0; i < c.m; ++i)
    for (int64_t r = 0; r < c.n; ++r) {
      double sum = c.bias.empty() ? 0 : static_cast<double>(c.bias[static_cast<std::size_t>(r)]);
      double bound = std::fabs(sum) * 1e-6, largest_w = 0;
      for (int64_t j = 0; j < c.k; ++j)
        largest_w = std::max(largest_w, std::fabs(static_cast<double>(w[static_cast<std::size_t>(r * c.k + j)])));
      for (int64_t k0 = 0; k0 < c.k; k0 += c.step) {
        double weights = 0, magnitudes = 0;
        const int64_t k1 = std::min(c.k, k0 + c.step);
        double largest_x = 0;
        for (int64_t j = k0; j < k1; ++j) {
          const double wv = static_cast<double>(w[static_cast<std::size_t>(r * c.k + j)]);
          const double xv = static_cast<double>(c.x[static_cast<std::size_t>(i * c.k + j)]);
          sum += wv * xv;
          weights += std::fabs(wv);
          magnitudes += std::fabs(wv * xv);
          largest_x = std::max(largest_x, std::fabs(xv));
        }
        bound += largest_x / 254.0 * weights * 1.001 + magnitudes * 1e-5;
        bound += 1e-35 * weights;  // a step of nothing but smaller numbers is zeros
        // A minimum or zero point may be much larger than what is left after it: its products round in float32 too.
        bound += static_cast<double>(k1 - k0) * largest_x * 3.0 * 1e-6;
        // |s| <= 1.25 / 2^bits for the segments made here.
        bound += table_error * 1.25 / (1 << spec.bits) * largest_x * static_cast<double>(k1 - k0);
      }
      const double got = static_cast<double>(y[static_cast<std::size_t>(i * c.n + r)]);
      ASSERT_LE(std::fabs(got - sum), bound) << "row " << r << " of activation " << i << ": " << got << " for " << sum;
    }
}

class Int8Variants : public ::testing::TestWithParam<int> {
 protected:
  static const QmatmulInt8Variant& variant() {
    int count = 0;
    return kernels::qmatmul_int8_variants(&count)[GetParam()];
  }
  static const QmatmulInt8Variant& reference() {
    int count = 0;
    const QmatmulInt8Variant* all = kernels::qmatmul_int8_variants(&count);
    return all[count - 1];
  }
  void SetUp() override {
    if (!isa_usable(variant().isa)) GTEST_SKIP() << variant().name << " cannot run on this processor";
  }
};

TEST_P(Int8Variants, EveryEncodingAtSizesAroundTheTile) {
  const uint64_t seed = test_seed(22);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  const int64_t sizes[] = {1, 15, 16, 17, 63, 64, 65, 127, 129, 200, 257, 300, 1100};
  const int64_t batches[] = {1, 2, 3, 4, 5, 8, 9, 12, 13, 17, 25, 33};
  for (const WeightSpec& spec : all_specs()) {
    if (spec.encoding == Encoding::dense) continue;
    for (int repeat = 0; repeat < 5; ++repeat) {
      const int64_t n = sizes[random.below(std::size(sizes) - 1)];
      const int64_t k = sizes[random.below(std::size(sizes))];
      const int64_t m = batches[random.below(std::size(batches))];
      SCOPED_TRACE(spec.text() + ", n " + std::to_string(n) + " k " + std::to_string(k) + " m " + std::to_string(m));
      const Case c = make_case(random, n, k, m, spec, random.below(2) == 0);
      const std::vector<float> y = run(variant(), c, true);
      const std::vector<float> again = run(variant(), c, false);
      const std::vector<float> expected = run(reference(), c, true);
      ASSERT_EQ(std::memcmp(y.data(), again.data(), y.size() * 4), 0) << "depends on where its memory lies";
      for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], expected[i]) << "element " << i;
      check_bound(c, spec, y);
      if (HasFatalFailure()) return;
    }
  }
}

// Dot products that pass through 16 bits on the way: nothing that codes and activations can be may fill them.
TEST_P(Int8Variants, TheLargestCodesAndActivationsDoNotSaturate) {
  const int64_t n = 17, k = 320;
  for (int bits = 1; bits <= 8; ++bits)
    for (const int64_t group : {0, 16, 32, 64, 128})
      for (const int64_t m : {1, 2, 4, 8, 13}) {
        WeightSpec spec;
        spec.bits = bits;
        spec.group_size = group;
        const int64_t groups = group == 0 ? 1 : (k + group - 1) / group;
        const std::vector<uint8_t> codes(static_cast<std::size_t>(n * k), static_cast<uint8_t>((1 << bits) - 1));
        const std::vector<float> scales(static_cast<std::size_t>(n * groups), 1.0f / static_cast<float>(1 << bits));
        auto segment = pack_affine(n, k, {bits, group, codes, scales, spec.scale_type, spec.zero_kind, {}, spec.zero_type});
        ASSERT_TRUE(segment.ok()) << segment.status().message();
        Case c{std::move(segment).value(), n, k, m, step_for(spec, k), {}, {}, {}};
        for (int64_t i = 0; i < m; ++i) c.x.insert(c.x.end(), static_cast<std::size_t>(k), i % 2 == 0 ? 1.0f : -1.0f);
        c.q = prepare(prepare_reference(), c.x, m, k, c.step, {}, {}, true);
        SCOPED_TRACE(spec.text() + " m " + std::to_string(m));
        const std::vector<float> y = run(variant(), c, true);
        const std::vector<float> expected = run(reference(), c, true);
        for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], expected[i]) << "element " << i;
        check_bound(c, spec, y);
        if (HasFatalFailure()) return;
      }
}

TEST(FullQmatmulInt8, RandomCases) {
  const uint64_t seed = test_seed(2026);
  SCOPED_TRACE("NIBBLE_TEST_SEED=" + std::to_string(seed));
  Random random(seed);
  int count = 0;
  const QmatmulInt8Variant* all = kernels::qmatmul_int8_variants(&count);
  std::vector<const QmatmulInt8Variant*> usable;
  for (int v = 0; v < count; ++v)
    if (isa_usable(all[v].isa)) usable.push_back(all + v);
  for (int i = 0; i < random_cases(); ++i) {
    const int64_t n = random_size(random), k = n > 1000 ? 1 + static_cast<int64_t>(random.below(65)) : random_size(random);
    const int64_t m = k > 1000 ? 1 + static_cast<int64_t>(random.below(12)) : 1 + static_cast<int64_t>(random.below(40));
    WeightSpec spec = random_spec(random, k);
    if (spec.encoding == Encoding::dense) continue;
    const QmatmulInt8Variant& variant = *usable[random.below(usable.size())];
    SCOPED_TRACE("case " + std::to_string(i) + " " + variant.name + ": " + spec.text() + ", n " + std::to_string(n) + " k " +
                 std::to_string(k) + " m " + std::to_string(m));
    Case c = make_case(random, n, k, m, spec, random.below(2) == 0);
    if (random.below(8) == 0) {  // numbers that are almost nothing
      for (float& v : c.x) v *= random.below(2) == 0 ? 1e-38f : 1e-20f;
      c.q = prepare(prepare_reference(), c.x, m, k, c.step, {}, {}, true);
    }
    const std::vector<float> y = run(variant, c, random.below(2) == 0, random.below(64));
    const std::vector<float> expected = run(all[count - 1], c, true);
    ASSERT_EQ(std::memcmp(y.data(), expected.data(), y.size() * 4), 0);
    check_bound(c, spec, y);
    if (HasFatalFailure()) return;
  }
}

std::string int8_name(const ::testing::TestParamInfo<int>& info) {
  int count = 0;
  return kernels::qmatmul_int8_variants(&count)[info.param].name;
}
std::string prepare_name(const ::testing::TestParamInfo<int>& info) {
  int count = 0;
  return kernels::prepare_input_variants(&count)[info.param].name;
}
int int8_count() {
  int count = 0;
  kernels::qmatmul_int8_variants(&count);
  return count;
}
int prepare_count() {
  int count = 0;
  kernels::prepare_input_variants(&count);
  return count;
}
INSTANTIATE_TEST_SUITE_P(All, Int8Variants, ::testing::Range(0, int8_count()), int8_name);
INSTANTIATE_TEST_SUITE_P(All, PrepareVariants, ::testing::Range(0, prepare_count()), prepare_name);

}  // namespace
}  // namespace nbl::testing
