#include "tensor/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

#include "base/buffer.h"
#include "base/cpu.h"
#include "kernels/limits/limits.h"

namespace nbl {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// What the rounds of one measurement say.
class Rounds {
 public:
  explicit Rounds(double seconds) : seconds_(seconds) {}
  void add(double rate, bool all_worked) {
    rates_.push_back(rate);
    all_worked_ = all_worked_ && all_worked;
  }
  /// Enough of them to have a median.
  bool enough() const { return rates_.size() >= 5 && seconds_since(begin_) >= seconds_; }
  double median() {
    const auto middle = rates_.begin() + static_cast<std::ptrdiff_t>(rates_.size() / 2);
    std::nth_element(rates_.begin(), middle, rates_.end());
    return *middle;
  }
  /// Other programs took part of the machine: the best round is far above the median, or workers were missing.
  bool disturbed() { return !all_worked_ || *std::max_element(rates_.begin(), rates_.end()) > 1.2 * median(); }

 private:
  const Clock::time_point begin_ = Clock::now();
  double seconds_;
  std::vector<double> rates_;
  bool all_worked_ = true;
};

struct ReadRound {
  double rate = 0;  // bytes a second
  int workers = 0;
};
ReadRound read_once(Team& t, const kernels::LimitVariant& loop, const Buffer& data, int64_t bytes) {
  std::atomic<int64_t> done{0};
  std::atomic<int> workers{0};
  const Clock::time_point start = Clock::now();
  t.run([&](Worker& worker) {
    const Range mine = worker.share(bytes, 4096);
    kernels::LimitArgs a;
    a.data = reinterpret_cast<const uint8_t*>(data.data()) + mine.begin;
    a.bytes = mine.end - mine.begin;
    // Small shares many times, so that starting the team does not count.
    const int64_t times = std::max<int64_t>(1, (int64_t{64} << 20) / std::max<int64_t>(a.bytes, 1));
    for (int64_t r = 0; r < times; ++r) loop.run(&a);
    done += times * a.bytes;
    ++workers;
  });
  return {static_cast<double>(done) / seconds_since(start), workers};
}

// Larger than the last-level cache, every page touched: untouched ones may all be one page of zeros.
Result<Buffer> memory_array(Team& team, int64_t bytes) {
  if (bytes <= 0) {
    bytes = std::max<int64_t>(int64_t{256} << 20, 2 * last_level_cache_bytes());
    if (physical_memory_bytes() > 0) bytes = std::min(bytes, physical_memory_bytes() / 4);
  }
  bytes = std::max<int64_t>(bytes / 4096, 1) * 4096;
  NBL_ASSIGN(Buffer data, Buffer::create(static_cast<std::size_t>(bytes)));
  team.run([&](Worker& worker) {
    const Range mine = worker.share(bytes, 4096);
    for (int64_t at = mine.begin; at < mine.end; at += 64) data.data()[at] = static_cast<std::byte>(at >> 6);
  });
  return data;
}

struct Limits {
  Team& alone;
  Team& team;
  double seconds;
  bool disturbed = false;

  // Bytes a second; every thread reads its share of `bytes` again and again.
  double read(Team& t, const kernels::LimitVariant& loop, const Buffer& data, int64_t bytes) {
    Rounds rounds(seconds);
    do {
      const ReadRound round = read_once(t, loop, data, bytes);
      rounds.add(round.rate, round.workers == t.size());
    } while (!rounds.enough());
    disturbed = disturbed || rounds.disturbed();
    return rounds.median();
  }

  double operations(Team& t, const kernels::LimitVariant& loop) {
    int64_t iterations = 20000;
    Rounds rounds(seconds);
    do {
      std::atomic<int64_t> done{0};
      std::atomic<int> workers{0};
      const Clock::time_point start = Clock::now();
      t.run([&](Worker&) {
        kernels::LimitArgs a;
        a.iterations = iterations;
        loop.run(&a);
        done += a.operations;
        ++workers;
      });
      const double took = seconds_since(start);
      if (took < seconds / 20) {
        iterations *= 4;
        continue;
      }
      rounds.add(static_cast<double>(done) / took, workers == t.size());
    } while (!rounds.enough());
    disturbed = disturbed || rounds.disturbed();
    return rounds.median();
  }

  // A team that is slower than one of its threads, or faster than all of them apart, was not measured in peace.
  Measured both(double one, double all) {
    if (team.size() > 1 && (all < 0.9 * one || all > 1.1 * one * team.size())) disturbed = true;
    return {one, all};
  }
  Measured both(const kernels::LimitVariant& loop, const Buffer& data, int64_t one, int64_t all) {
    const double first = read(alone, loop, data, one);
    return both(first, read(team, loop, data, all));
  }
  Measured both(kernels::Limit limit) {
    const kernels::LimitVariant* loop = kernels::select_limit(limit, best_isa());
    if (loop == nullptr) return {};
    const double first = operations(alone, *loop);
    return both(first, operations(team, *loop));
  }
};

}  // namespace

Result<MachineLimits> measure_limits(Team& team, const LimitOptions& options) {
  MachineLimits limits;
  limits.threads = team.size();
  Team alone(1);
  NBL_ASSIGN(const Buffer data, memory_array(team, options.dram_bytes));
  const auto bytes = static_cast<int64_t>(data.size());
  limits.dram_bytes = bytes;
  const kernels::LimitVariant& read = *kernels::select_limit(kernels::Limit::read, best_isa());
  Limits measure{alone, team, options.seconds_each};
  limits.dram = measure.both(read, data, bytes, bytes);
  const int64_t small = int64_t{512} << 10;
  limits.l2 = measure.both(read, data, std::min(bytes, small), std::min(bytes, small * team.size()));
  limits.f32_fma = measure.both(kernels::Limit::f32_fma);
  limits.int8_dot = measure.both(kernels::Limit::int8_dot);
  limits.bf16_dot = measure.both(kernels::Limit::bf16_dot);
  limits.amx_int8 = measure.both(kernels::Limit::amx_int8);
  limits.amx_bf16 = measure.both(kernels::Limit::amx_bf16);
  limits.disturbed = measure.disturbed;
  return limits;
}

Result<MemoryReader> MemoryReader::create(Team& team, int64_t bytes) {
  NBL_ASSIGN(Buffer data, memory_array(team, bytes));
  return MemoryReader(std::move(data));
}

double MemoryReader::read(Team& team) const {
  return read_once(team, *kernels::select_limit(kernels::Limit::read, best_isa()), data_, static_cast<int64_t>(data_.size())).rate;
}

}  // namespace nbl
