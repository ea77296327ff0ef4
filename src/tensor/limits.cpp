#include "tensor/limits.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/buffer.h"
#include "base/cpu.h"
#include "kernels/limits/limits.h"

namespace nbl {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Bytes a second; every thread reads its share of `data` again and again, rounds counted together. The best round
// counts.
double read_speed(Team& team, const kernels::LimitVariant& loop, const Buffer& data, int64_t bytes, double seconds) {
  double best = 0;
  const Clock::time_point begin = Clock::now();
  do {
    const Clock::time_point start = Clock::now();
    team.run([&](Worker& worker) {
      const Range mine = worker.share(bytes, 4096);
      kernels::LimitArgs a;
      a.data = reinterpret_cast<const uint8_t*>(data.data()) + mine.begin;
      a.bytes = mine.end - mine.begin;
      // Small shares many times, so that starting the team does not count.
      const int64_t rounds = std::max<int64_t>(1, (int64_t{64} << 20) / std::max<int64_t>(a.bytes, 1));
      for (int64_t r = 0; r < rounds; ++r) loop.run(&a);
    });
    const int64_t share = std::max<int64_t>(1, bytes / team.size());
    const int64_t rounds = std::max<int64_t>(1, (int64_t{64} << 20) / share);
    best = std::max(best, static_cast<double>(bytes * rounds) / seconds_since(start));
  } while (seconds_since(begin) < seconds);
  return best;
}

double operation_speed(Team& team, kernels::Limit limit, double seconds) {
  const kernels::LimitVariant* loop = kernels::select_limit(limit, best_isa());
  if (loop == nullptr) return 0;
  double best = 0;
  int64_t iterations = 20000;
  const Clock::time_point begin = Clock::now();
  do {
    std::vector<int64_t> operations(static_cast<std::size_t>(team.size()) * 8);
    const Clock::time_point start = Clock::now();
    team.run([&](Worker& worker) {
      kernels::LimitArgs a;
      a.iterations = iterations;
      loop->run(&a);
      operations[static_cast<std::size_t>(worker.index()) * 8] = a.operations;
    });
    const double took = seconds_since(start);
    int64_t total = 0;
    for (const int64_t n : operations) total += n;
    if (took < seconds / 20) {
      iterations *= 4;
      continue;
    }
    best = std::max(best, static_cast<double>(total) / took);
  } while (seconds_since(begin) < seconds);
  return best;
}

}  // namespace

Result<MachineLimits> measure_limits(Team& team, const LimitOptions& options) {
  MachineLimits limits;
  limits.threads = team.size();
  Team alone(1);
  int64_t bytes = options.dram_bytes;
  if (bytes <= 0) {
    bytes = std::max<int64_t>(int64_t{256} << 20, 2 * last_level_cache_bytes());
    if (physical_memory_bytes() > 0) bytes = std::min(bytes, physical_memory_bytes() / 4);
  }
  bytes = std::max<int64_t>(bytes / 4096, 1) * 4096;
  limits.dram_bytes = bytes;
  NBL_ASSIGN(Buffer data, Buffer::create(static_cast<std::size_t>(bytes)));
  // Untouched pages may all be one page of zeros.
  team.run([&](Worker& worker) {
    const Range mine = worker.share(bytes, 4096);
    for (int64_t at = mine.begin; at < mine.end; at += 64) data.data()[at] = static_cast<std::byte>(at >> 6);
  });
  const kernels::LimitVariant& read = *kernels::select_limit(kernels::Limit::read, best_isa());
  limits.dram.one = read_speed(alone, read, data, bytes, options.seconds_each);
  limits.dram.team = read_speed(team, read, data, bytes, options.seconds_each);
  const int64_t small = int64_t{512} << 10;
  limits.l2.one = read_speed(alone, read, data, std::min(bytes, small), options.seconds_each);
  limits.l2.team = read_speed(team, read, data, std::min(bytes, small * team.size()), options.seconds_each);
  const auto both = [&](kernels::Limit limit) {
    return Measured{operation_speed(alone, limit, options.seconds_each),
                    operation_speed(team, limit, options.seconds_each)};
  };
  limits.f32_fma = both(kernels::Limit::f32_fma);
  limits.int8_dot = both(kernels::Limit::int8_dot);
  limits.bf16_dot = both(kernels::Limit::bf16_dot);
  limits.amx_int8 = both(kernels::Limit::amx_int8);
  limits.amx_bf16 = both(kernels::Limit::amx_bf16);
  return limits;
}

}  // namespace nbl
