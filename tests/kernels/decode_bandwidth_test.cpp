// Decoding reads its weights at a good part of the speed at which this machine reads memory at all.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/buffer.h"
#include "base/cpu.h"
#include "kernels/limits/limits.h"
#include "tensor/linear.h"

namespace nbl {
namespace {

using Clock = std::chrono::steady_clock;

TEST(DecodeBandwidth, TwoThreadsReachTwoFifthsOfWhatPlainReadingReaches) {
  if (available_processors() < 2) GTEST_SKIP() << "one processor only: two threads cannot be measured";
  const int64_t bytes = std::max<int64_t>(int64_t{256} << 20, last_level_cache_bytes() + (int64_t{64} << 20));
  if (physical_memory_bytes() < 3 * bytes) GTEST_SKIP() << "too little memory for a weight larger than the cache";
  const int64_t k = 8192;
  const int64_t n = bytes / (k / 2) / 16 * 16;
  Segment s;
  s.k_count = k;
  s.encoding = Encoding::affine;
  s.bits = 4;
  s.group_size = 128;
  auto codes = Buffer::create(static_cast<std::size_t>(s.code_bytes(n)));
  auto scales = Buffer::create(static_cast<std::size_t>(s.scale_bytes(n)));
  ASSERT_TRUE(codes.ok() && scales.ok());
  Team team(2);
  team.run([&](Worker& worker) {
    const Range mine = worker.share(static_cast<int64_t>(codes->size()), 4096);
    std::memset(codes->data() + mine.begin, 0x5a, static_cast<std::size_t>(mine.end - mine.begin));
  });
  for (uint16_t& v : scales->as<uint16_t>()) v = 0x2400;  // 2^-6
  const uint8_t* data = reinterpret_cast<const uint8_t*>(codes->data());
  const int64_t size = s.code_bytes(n) / 4096 * 4096;
  s.codes = Storage::own(std::move(codes).value());
  s.scales = Storage::own(std::move(scales).value());
  auto linear = Linear::create(make_qtensor(n, k, s), {}, {Compute::fast, best_isa()});
  ASSERT_TRUE(linear.ok());
  std::vector<float> x(static_cast<std::size_t>(k), 1.0f), y(static_cast<std::size_t>(n));
  auto prepared = Buffer::create(linear->prepared_bytes(1));
  ASSERT_TRUE(prepared.ok());

  const kernels::LimitVariant* read = kernels::select_limit(kernels::Limit::read, best_isa());
  double best_read = 0, best_decode = 0;
  for (int round = 0; round < 6; ++round) {  // interleaved: what else the machine does meets both
    const Clock::time_point start = Clock::now();
    team.run([&](Worker& worker) {
      const Range mine = worker.share(size, 4096);
      kernels::LimitArgs a;
      a.data = data + mine.begin;
      a.bytes = mine.end - mine.begin;
      read->run(&a);
    });
    const Clock::time_point middle = Clock::now();
    team.run([&](Worker& worker) {
      linear->prepare(worker, x.data(), k, 1, prepared->data());
      linear->multiply(worker, prepared->data(), 1, y.data(), n);
    });
    const Clock::time_point end = Clock::now();
    best_read = std::max(best_read, static_cast<double>(size) / std::chrono::duration<double>(middle - start).count());
    best_decode = std::max(
        best_decode, static_cast<double>(linear->weight_bytes()) / std::chrono::duration<double>(end - middle).count());
  }
  // Every code is 0xa or 0x5 less 8, in equal numbers.
  EXPECT_FLOAT_EQ(y[0], static_cast<float>(k) / 2 * (2 - 3) / 64);
  RecordProperty("read_GBps", std::to_string(best_read / 1e9));
  RecordProperty("decode_GBps", std::to_string(best_decode / 1e9));
  std::printf("[          ] memory %.1f GB/s, decode %.1f GB/s: %.0f %%\n", best_read / 1e9, best_decode / 1e9,
              100 * best_decode / best_read);
  EXPECT_GE(best_decode, 0.4 * best_read);
}

}  // namespace
}  // namespace nbl
