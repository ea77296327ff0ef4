// Linear: whole products of every kind of QTensor, on every instruction set at hand, against double precision; the same
// bytes for any number of threads and activation rows.
#include "tensor/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/random.h"
#include "tensor/dtype.h"

namespace nbl {
namespace {

float rounded_f16(float v) {
  std::byte stored[2];
  float back = 0;
  convert_from_f32(&v, 1, DType::f16, stored);
  convert_to_f32(DType::f16, stored, 1, &back);
  return back;
}

Segment affine_segment(Random& random, int64_t n, int64_t k, int bits, int64_t group) {
  const int64_t groups = group == 0 ? 1 : (k + group - 1) / group;
  std::vector<uint8_t> codes(static_cast<std::size_t>(n * k));
  for (uint8_t& c : codes) c = static_cast<uint8_t>(random.below(uint64_t{1} << bits));
  std::vector<float> scales, zeros;
  for (int64_t i = 0; i < n * groups; ++i) {
    scales.push_back(rounded_f16((random.uniform() + 0.5f) / static_cast<float>(1 << bits)));
    zeros.push_back(static_cast<float>(random.below(uint64_t{1} << bits)));
  }
  auto s = pack_affine(n, k, {bits, group, codes, scales, DType::f16, ZeroKind::code, zeros, DType::f16});
  EXPECT_TRUE(s.ok()) << s.status().message();
  return std::move(s).value();
}

Segment dense_segment(Random& random, int64_t n, int64_t k, DType type) {
  std::vector<float> values(static_cast<std::size_t>(n * k));
  for (float& v : values) v = static_cast<float>(random.normal());
  std::vector<std::byte> stored(values.size() * static_cast<std::size_t>(dtype_bytes(type)));
  convert_from_f32(values.data(), n * k, type, stored.data());
  auto s = pack_dense(n, k, type, stored.data());
  EXPECT_TRUE(s.ok());
  return std::move(s).value();
}

template <class T>
Storage stored(const std::vector<T>& values) {
  auto s = Storage::copy(std::as_bytes(std::span(values)));
  EXPECT_TRUE(s.ok());
  return std::move(s).value();
}

void add_order_scale_outliers(Random& random, QTensor& t) {
  std::vector<int32_t> order(static_cast<std::size_t>(t.k));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  t.column_order = stored(order);
  std::vector<float> scale(static_cast<std::size_t>(t.k));
  for (float& v : scale) v = random.uniform() + 0.5f;
  t.input_scale = stored(scale);
  std::vector<int32_t> offsets = {0}, columns;
  std::vector<uint16_t> values;
  for (int64_t r = 0; r < t.n; ++r) {
    for (int64_t c = 0; c < t.k; ++c)
      if (random.below(30) == 0) {
        columns.push_back(static_cast<int32_t>(c));
        values.push_back(static_cast<uint16_t>(0x3c00 + random.below(1024)));  // 1 to 2
      }
    offsets.push_back(static_cast<int32_t>(columns.size()));
  }
  t.outliers = Outliers{stored(offsets), stored(columns), stored(values), static_cast<int64_t>(columns.size())};
}

std::vector<float> product(const Linear& linear, const std::vector<float>& x, int64_t m, int threads) {
  Team team(threads);
  auto prepared = Buffer::create(linear.prepared_bytes(m));
  EXPECT_TRUE(prepared.ok());
  std::vector<float> y(static_cast<std::size_t>(m * linear.n()), -1.0f);
  team.run([&](Worker& worker) {
    linear.prepare(worker, x.data(), linear.k(), m, prepared->data());
    linear.multiply(worker, prepared->data(), m, y.data(), linear.n());
  });
  return y;
}

void check(const QTensor& t, const ComputeOptions& options, uint64_t seed) {
  const Compute compute = options.compute;
  SCOPED_TRACE(t.description() + (compute == Compute::exact ? " exact " : options.fine ? " fine " : " fast ") + isa_name(options.isa));
  ASSERT_TRUE(t.validate("w").ok()) << t.validate("w").message();
  Random random(seed);
  const int64_t m = 18;
  std::vector<float> x(static_cast<std::size_t>(m * t.k)), bias(static_cast<std::size_t>(t.n));
  for (float& v : x) v = static_cast<float>(random.normal());
  for (float& v : bias) v = static_cast<float>(random.normal());
  auto linear = Linear::create(t, bias, options);
  ASSERT_TRUE(linear.ok()) << linear.status().message();
  const bool fine = options.fine && !linear->input_form().bf16;

  const std::vector<float> y = product(*linear, x, m, 1);
  const std::vector<float> scale =
      t.input_scale.empty() ? std::vector<float>(static_cast<std::size_t>(t.k), 1.0f)
                            : std::vector<float>(t.input_scale.as<float>().begin(), t.input_scale.as<float>().end());
  std::vector<float> w(static_cast<std::size_t>(t.k));
  for (int64_t r = 0; r < t.n; ++r) {
    t.dequantize_row(r, w.data());
    for (int64_t i = 0; i < m; ++i) {
      double sum = static_cast<double>(bias[static_cast<std::size_t>(r)]);
      double size = std::fabs(sum), weights = 0, largest = 0;
      for (int64_t c = 0; c < t.k; ++c) {
        const double wc = static_cast<double>(w[static_cast<std::size_t>(c)]);
        const double xc = static_cast<double>(x[static_cast<std::size_t>(i * t.k + c)]) *
                          static_cast<double>(scale[static_cast<std::size_t>(c)]);
        sum += wc * xc;
        size += std::fabs(wc * xc);
        weights += std::fabs(wc);
        largest = std::max(largest, std::fabs(xc));
      }
      // int8: half a step of the largest magnitude, for each weight; of two planes half of the second's step. bfloat16: 2^-9 of
      // each factor.
      const double rounding = compute == Compute::exact ? 0.0
                              : fine                    ? weights * largest / (254.0 * 254.0)
                                                        : std::max(weights * largest / 254.0, size / 256.0);
      const double bound = size * 1e-5 + rounding;
      const double got = static_cast<double>(y[static_cast<std::size_t>(i * t.n + r)]);
      ASSERT_LE(std::fabs(got - sum), bound) << "row " << r << " of activation " << i;
    }
  }
  for (const int threads : {2, 3}) {
    const std::vector<float> other = product(*linear, x, m, threads);
    ASSERT_EQ(std::memcmp(y.data(), other.data(), y.size() * 4), 0) << threads << " threads";
  }
  for (const int64_t rows : {int64_t{1}, int64_t{4}, int64_t{8}}) {
    const std::vector<float> few(x.begin(), x.begin() + rows * t.k);
    const std::vector<float> other = product(*linear, few, rows, 2);
    if (linear->input_form().bf16) continue;  // few rows are multiplied in float32
    ASSERT_EQ(std::memcmp(y.data(), other.data(), other.size() * 4), 0) << rows << " activation rows";
  }
}

std::vector<QTensor> tensors(uint64_t seed) {
  Random random(seed);
  std::vector<QTensor> list;
  for (const int bits : {2, 3, 4, 8}) {
    list.push_back(make_qtensor(150, 320, affine_segment(random, 150, 320, bits, 64)));
    list.push_back(make_qtensor(33, 100, affine_segment(random, 33, 100, bits, 32)));
  }
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::e4m3})
    list.push_back(make_qtensor(70, 130, dense_segment(random, 70, 130, type)));
  QTensor mixed;
  mixed.n = 50;
  mixed.k = 450;
  mixed.segments.push_back(affine_segment(random, 50, 192, 4, 64));
  mixed.segments.push_back(affine_segment(random, 50, 64, 2, 32));
  mixed.segments.push_back(dense_segment(random, 50, 64, DType::f16));
  mixed.segments.push_back(affine_segment(random, 50, 130, 8, 0));
  int64_t at = 0;
  for (Segment& s : mixed.segments) {
    s.k_begin = at;
    at += s.k_count;
  }
  list.push_back(mixed);
  add_order_scale_outliers(random, mixed);
  list.push_back(mixed);
  QTensor plain = make_qtensor(64, 256, affine_segment(random, 64, 256, 4, 128));
  add_order_scale_outliers(random, plain);
  list.push_back(plain);
  return list;
}

TEST(Linear, ProductsOfEveryKindOnEveryInstructionSet) {
  const uint64_t seed = 7;
  for (const QTensor& t : tensors(seed))
    for (const Isa isa : usable_isas())
      for (const ComputeOptions& options : {ComputeOptions{Compute::exact, isa}, ComputeOptions{Compute::fast, isa},
                                            ComputeOptions{Compute::fast, isa, nullptr, true}}) {
        check(t, options, seed + 1);
        if (::testing::Test::HasFatalFailure()) return;
      }
}

TEST(Linear, TheInstructionSetChoosesTheKernel) {
  Random random(3);
  const QTensor t = make_qtensor(16, 64, affine_segment(random, 16, 64, 4, 64));
  auto scalar = Linear::create(t, {}, {Compute::fast, Isa::scalar});
  ASSERT_TRUE(scalar.ok());
  EXPECT_EQ(scalar->kernel_name(), "qmatmul_int8__scalar");
  auto exact = Linear::create(t, {}, {Compute::exact, Isa::scalar});
  ASSERT_TRUE(exact.ok());
  EXPECT_EQ(exact->kernel_name(), "qmatmul_exact__scalar");
  if (isa_usable(Isa::avx2)) {
    auto avx2 = Linear::create(t, {}, {Compute::fast, Isa::avx2});
    ASSERT_TRUE(avx2.ok());
    EXPECT_EQ(avx2->kernel_name(), "qmatmul_int8__avx2");
  }
}

TEST(Linear, LinearsOfOneInputShareItsPreparation) {
  Random random(4);
  const QTensor a = make_qtensor(16, 256, affine_segment(random, 16, 256, 4, 128));
  const QTensor b = make_qtensor(48, 256, affine_segment(random, 48, 256, 4, 128));
  const QTensor c = make_qtensor(48, 256, affine_segment(random, 48, 256, 4, 32));
  const ComputeOptions options{Compute::fast, best_isa()};
  auto la = Linear::create(a, {}, options), lb = Linear::create(b, {}, options), lc = Linear::create(c, {}, options);
  ASSERT_TRUE(la.ok() && lb.ok() && lc.ok());
  EXPECT_EQ(la->input_form(), lb->input_form());
  EXPECT_NE(la->input_form(), lc->input_form());
}

TEST(Linear, PiecesGiveTheSameBytesAsTheWhole) {
  Random random(6);
  const int64_t n = 300, k = 328, m = 19;
  const QTensor tensors[] = {make_qtensor(n, k, affine_segment(random, n, k, 4, 128)),
                             make_qtensor(n, k, affine_segment(random, n, k, 3, 32))};
  std::vector<float> x(static_cast<std::size_t>(m * k)), bias(static_cast<std::size_t>(n));
  for (float& v : x) v = static_cast<float>(random.normal());
  for (float& v : bias) v = static_cast<float>(random.normal());
  Team team(2);
  for (const QTensor& t : tensors)
    for (const ComputeOptions& options : {ComputeOptions{Compute::fast, best_isa()}, ComputeOptions{Compute::exact, best_isa()},
                                          ComputeOptions{Compute::fast, best_isa(), nullptr, true}}) {
      auto linear = Linear::create(t, bias, options);
      ASSERT_TRUE(linear.ok());
      ASSERT_TRUE(linear->prepares_in_pieces());
      const std::size_t bytes = linear->prepared_bytes(m);
      auto whole = Buffer::create(bytes), rows = Buffer::create(bytes), columns = Buffer::create(bytes);
      ASSERT_TRUE(whole.ok() && rows.ok() && columns.ok());
      std::vector<float> y(static_cast<std::size_t>(m * n)), pieces(y.size());
      team.run([&](Worker& worker) {
        linear->prepare(worker, x.data(), k, m, whole->data());
        linear->multiply(worker, whole->data(), m, y.data(), n);
      });
      linear->prepare_rows({0, 7}, x.data(), k, m, rows->data());
      linear->prepare_rows({7, m}, x.data(), k, m, rows->data());
      for (int64_t begin = 0; begin < k; begin += 2 * Linear::kPieceColumns) {
        const int64_t end = std::min(k, begin + 2 * Linear::kPieceColumns), width = end - begin;
        std::vector<float> part(static_cast<std::size_t>(m * width));
        for (int64_t i = 0; i < m; ++i) std::copy_n(x.data() + i * k + begin, width, part.data() + i * width);
        linear->prepare_columns({begin, end}, part.data(), width, m, columns->data());
      }
      EXPECT_EQ(std::memcmp(whole->data(), rows->data(), bytes), 0);
      EXPECT_EQ(std::memcmp(whole->data(), columns->data(), bytes), 0);
      for (const Range part : {Range{0, 128}, Range{128, 144}, Range{144, n}}) {
        const int64_t width = part.end - part.begin;
        std::vector<float> out(static_cast<std::size_t>(m * width));
        linear->multiply_rows(part, columns->data(), m, out.data(), width);
        for (int64_t i = 0; i < m; ++i) std::copy_n(out.data() + i * width, width, pieces.data() + i * n + part.begin);
      }
      EXPECT_EQ(std::memcmp(y.data(), pieces.data(), y.size() * sizeof(float)), 0);
    }
}

// K-quants: six-bit scales and minimums are read as they are stored, and give the same bytes as what they expand to.
TEST(Linear, QuantizedScalesGiveTheSameBytesAsTheirValues) {
  Random random(7);
  const int64_t n = 85, k = 512, groups = k / 32, m = 11;
  std::vector<uint8_t> codes(static_cast<std::size_t>(n * k)), numbers(static_cast<std::size_t>(n * groups));
  std::vector<float> supers(static_cast<std::size_t>(n * groups / 8)), x(static_cast<std::size_t>(m * k));
  for (float& v : x) v = static_cast<float>(random.normal());
  const auto make = [&](int offset, float sign) {
    for (uint8_t& c : numbers) c = static_cast<uint8_t>(random.below(64));
    for (float& v : supers) v = rounded_f16(sign * (random.uniform() + 0.1f) * 1e-3f);
    ScaleCodes form;
    form.bits = 6;
    form.offset = offset;
    form.groups = 8;
    return make_scale_codes(n, groups, std::move(form), {numbers, supers, {}, {}}).value();
  };
  for (const bool minimums : {true, false}) {
    for (uint8_t& c : codes) c = static_cast<uint8_t>(random.below(16));
    ScaleCodes scale = make(minimums ? 0 : 32, 1.0f), zero = make(0, -1.0f);
    const std::vector<float> scales = scale.expand(n, groups), zeros = zero.expand(n, groups);
    AffineParts parts;
    parts.bits = 4;
    parts.group_size = 32;
    parts.codes = codes;
    parts.scales = scales;
    parts.scale_type = DType::f32;
    parts.zero_type = DType::f32;
    if (minimums) {
      parts.zero_kind = ZeroKind::minimum;
      parts.zeros = zeros;
    }
    const Segment plain = pack_affine(n, k, parts).value();
    Segment coded = plain;
    coded.scale_codes = scale;
    if (minimums) coded.zero_codes = zero;
    for (const Compute compute : {Compute::fast, Compute::exact})
      for (const Isa isa : usable_isas()) {
        std::vector<float> y[2];
        int64_t bytes[2] = {};
        for (const int which : {0, 1}) {
          auto linear = Linear::create(make_qtensor(n, k, which == 0 ? plain : coded), {}, {compute, isa});
          ASSERT_TRUE(linear.ok());
          bytes[which] = linear->weight_bytes();
          for (const int64_t rows : {int64_t{1}, m}) {
            auto prepared = Buffer::create(linear->prepared_bytes(rows));
            ASSERT_TRUE(prepared.ok());
            std::vector<float> out(static_cast<std::size_t>(rows * n));
            linear->prepare_alone(x.data(), k, rows, prepared->data());
            linear->multiply_rows({0, n}, prepared->data(), rows, out.data(), n);
            y[which].insert(y[which].end(), out.begin(), out.end());
          }
        }
        EXPECT_EQ(std::memcmp(y[0].data(), y[1].data(), y[0].size() * sizeof(float)), 0) << isa_name(isa);
        // A byte a group and four bytes a super-block instead of four bytes a group, once or twice.
        EXPECT_LE(bytes[1], minimums ? bytes[0] * 4 / 5 : bytes[0] * 7 / 8);
      }
  }
}

TEST(Linear, RefusesABiasOfAnotherSize) {
  Random random(5);
  auto linear = Linear::create(make_qtensor(16, 64, affine_segment(random, 16, 64, 4, 64)), std::vector<float>(15), {});
  ASSERT_FALSE(linear.ok());
  EXPECT_EQ(linear.status().message(), "the bias has 15 elements, the weight has 16 rows");
}

}  // namespace
}  // namespace nbl
