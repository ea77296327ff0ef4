// The tuner: measures a shape once, whoever asks; changes no byte of a product; is asked by nothing that must not depend on it.
#include "tensor/kernel_tuner.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "base/random.h"
#include "tensor/linear.h"
#include "tensor/linear_view.h"

namespace nbl {
namespace {

Segment segment_of(Random& random, int64_t n, int64_t k, int bits, int64_t group) {
  std::vector<uint8_t> codes(static_cast<std::size_t>(n * k));
  for (uint8_t& c : codes) c = static_cast<uint8_t>(random.below(uint64_t{1} << bits));
  const std::vector<float> scales(static_cast<std::size_t>(n * ((k + group - 1) / group)), 0.03125f);
  auto s = pack_affine(n, k, {bits, group, codes, scales, DType::f16, ZeroKind::symmetric, {}, DType::f16});
  EXPECT_TRUE(s.ok()) << s.status().message();
  return std::move(s).value();
}

TEST(KernelTuner, MeasuresAShapeOnceAndChoosesWhatCanRun) {
  Random random(1);
  const int64_t n = 96, k = 320;
  const Segment four = segment_of(random, n, k, 4, 64), three = segment_of(random, n, k, 3, 64);
  KernelTuner tuner;
  const Int8Choices first = tuner.choose(segment_view(four), n, 64, best_isa());
  EXPECT_EQ(tuner.measured(), 1);
  const Int8Choices again = tuner.choose(segment_view(four), n, 64, best_isa());
  EXPECT_EQ(tuner.measured(), 1);
  for (std::size_t c = 0; c < first.size(); ++c) {
    EXPECT_EQ(first[c].variant.run, again[c].variant.run);
    EXPECT_EQ(first[c].block_rows, again[c].block_rows);
    EXPECT_TRUE(isa_usable(first[c].variant.isa));
  }
  tuner.choose(segment_view(three), n, 64, best_isa());
  EXPECT_EQ(tuner.measured(), 2);
  const auto entries = tuner.entries();
  ASSERT_EQ(entries.size(), 2u * kRowClasses);
  for (const KernelTuner::Entry& e : entries) {
    EXPECT_GT(e.microseconds, 0) << e.shape;
    EXPECT_LE(e.microseconds, e.default_microseconds) << e.shape;
    EXPECT_NE(e.choice.find("qmatmul_int8__"), std::string::npos);
  }
  // A cap is kept.
  for (const Int8Choice& choice : tuner.choose(segment_view(four), n, 64, Isa::scalar)) EXPECT_EQ(choice.variant.isa, Isa::scalar);
}

TEST(KernelTuner, ThreadsThatAskAtOnceGetOneMeasurement) {
  Random random(2);
  const Segment s = segment_of(random, 64, 256, 4, 128);
  KernelTuner tuner;
  std::vector<Int8Choices> got(6);
  std::vector<std::thread> threads;
  for (Int8Choices& mine : got)
    threads.emplace_back([&] { mine = tuner.choose(segment_view(s), 64, 128, best_isa()); });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(tuner.measured(), 1);
  for (const Int8Choices& mine : got)
    for (std::size_t c = 0; c < mine.size(); ++c) EXPECT_EQ(mine[c].variant.run, got[0][c].variant.run);
}

TEST(KernelTuner, TunedProductsAreTheSameBytesAndExactOnesAreNotTuned) {
  Random random(3);
  const int64_t n = 80, k = 448;
  KernelTuner tuner;
  for (const int bits : {2, 4, 8}) {
    for (const int64_t group : {int64_t{32}, int64_t{128}}) {
      const QTensor t = make_qtensor(n, k, segment_of(random, n, k, bits, group));
      auto plain = Linear::create(t, {}, {Compute::fast, best_isa()});
      auto tuned = Linear::create(t, {}, {Compute::fast, best_isa(), &tuner});
      ASSERT_TRUE(plain.ok() && tuned.ok());
      for (const int64_t m : {1, 3, 4, 5, 8, 9, 21, 64}) {
        std::vector<float> x(static_cast<std::size_t>(m * k));
        for (float& v : x) v = static_cast<float>(random.normal());
        auto prepared = Buffer::create(plain->prepared_bytes(m));
        ASSERT_TRUE(prepared.ok());
        std::vector<float> a(static_cast<std::size_t>(m * n)), b(a.size());
        plain->prepare_alone(x.data(), k, m, prepared->data());
        plain->multiply_rows({0, n}, prepared->data(), m, a.data(), n);
        tuned->multiply_rows({0, n}, prepared->data(), m, b.data(), n);
        EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * 4), 0) << bits << " bits, groups of " << group << ", " << m << " rows";
      }
    }
  }
  const int64_t measured = tuner.measured();
  EXPECT_EQ(measured, 6);
  ASSERT_TRUE(Linear::create(make_qtensor(n, k, segment_of(random, n, k, 6, 64)), {}, {Compute::exact, best_isa(), &tuner}).ok());
  EXPECT_EQ(tuner.measured(), measured);
}

}  // namespace
}  // namespace nbl
