#include "base/parallel.h"

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <exception>

#include "base/allocator.h"
#include "base/checked.h"
#include "base/cpu.h"
#include "base/team.h"

namespace nbl {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kUntimedSpins = 256;
constexpr int64_t kFetchedAhead = 256 * 1024;  ///< bytes: a part of the second-level cache

int64_t nanoseconds(Clock::duration d) noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(d).count();
}

int64_t thread_cpu_nanoseconds() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

uint32_t fork_count() noexcept {
  static std::atomic<uint32_t> count{0};
  static const int registered =
      ::pthread_atfork(nullptr, nullptr, [] { count.fetch_add(1, std::memory_order_relaxed); });
  (void)registered;
  return count.load(std::memory_order_relaxed);
}

void Worker::barrier(Ahead ahead) noexcept {
  if (count_ == 1) return;
  passed_ = 0;
  held_ = -1;
  Team::State& s = *team_.state_;
  const uint32_t phase = s.phase.load(std::memory_order_relaxed);  // cannot move on before this worker has arrived
  if (s.arrived.fetch_add(1, std::memory_order_acq_rel) == count_ - 1) {
    s.arrived.store(0, std::memory_order_relaxed);
    s.taken[(phase + 1) % 2].store(0, std::memory_order_relaxed);  // that of the phase before this one
    s.phase.store(phase + 1, std::memory_order_release);
    s.phase.notify_all();  // asks the system only when someone sleeps there
    return;
  }
  const uint8_t* fetch = ahead.at;
  const uint8_t* const end = ahead.at + std::min<int64_t>(ahead.bytes, kFetchedAhead);
  // Short waits cost no look at the clock. A long one may be one of a spinning worker that was itself kept from running.
  Clock::time_point start;
  bool timed = false;
  const auto leave = [&] {
    if (timed) s.waited.fetch_add(nanoseconds(Clock::now() - start), std::memory_order_relaxed);
  };
  for (int i = 0; i < s.spins; ++i) {
    if (s.phase.load(std::memory_order_acquire) != phase) return leave();
    if (i == kUntimedSpins) {
      start = Clock::now();
      timed = true;
    }
    if (fetch < end) {
      for (int line = 0; line < 4; ++line) __builtin_prefetch(fetch + 64 * line, 0, 2);
      fetch += 256;
    } else {
      pause_cpu();
    }
  }
  const Clock::time_point asleep = Clock::now();
  if (!timed) start = asleep;
  timed = true;
  s.phase.wait(phase, std::memory_order_acquire);
  s.slept.fetch_add(nanoseconds(Clock::now() - asleep), std::memory_order_relaxed);
  leave();
}

Range Worker::share(int64_t n, int64_t align) const noexcept {
  const int64_t blocks = ceil_div(n, align);
  const int64_t each = blocks / count_;
  const int64_t more = blocks % count_;  // the first `more` workers take one block more
  const int64_t first = each * index_ + std::min<int64_t>(index_, more);
  const int64_t last = first + each + (index_ < more ? 1 : 0);
  return {std::min(n, first * align), std::min(n, last * align)};
}

namespace {

constexpr int64_t kDealtPart = 8;    ///< an eighth of the work is dealt out piece by piece
constexpr int64_t kDealtPieces = 4;  ///< for each worker, at most

/// What is dealt out, in blocks of the alignment: `pieces` of `size`, the last one perhaps shorter, from block `first` on.
struct Dealt {
  int64_t first = 0, size = 0, pieces = 0;
};
Dealt dealt(int64_t n, int64_t align, int64_t grain, int workers) noexcept {
  const int64_t blocks = ceil_div(n, align), part = blocks / kDealtPart;
  const int64_t size = std::max(ceil_div(grain, align), ceil_div(part, kDealtPieces * workers));
  // Fewer pieces than workers would make some wait for a whole one.
  if (workers == 1 || part < size * workers) return {blocks, 0, 0};
  return {blocks - part, size, ceil_div(part, size)};
}

}  // namespace

Range Worker::kept_share(int64_t n, int64_t align, int64_t grain) const noexcept {
  return share(std::min(n, dealt(n, align, grain, count_).first * align), align);
}

int64_t Worker::take(int64_t count) noexcept {
  Team::State& s = *team_.state_;
  if (held_ < 0) held_ = s.taken[s.phase.load(std::memory_order_relaxed) % 2].fetch_add(1, std::memory_order_relaxed);
  const int64_t piece = held_ - passed_;
  if (piece < count) {
    held_ = -1;
    return piece;
  }
  passed_ += count;
  return -1;
}

void Worker::deal(int64_t n, int64_t align, int64_t grain, FunctionRef<void(Range, bool)> fn) noexcept {
  const Dealt d = dealt(n, align, grain, count_);
  if (const Range kept = kept_share(n, align, grain); kept.begin < kept.end) fn(kept, d.pieces == 0);
  if (d.pieces == 0) return;
  for (int64_t i = take(d.pieces); i >= 0; i = take(d.pieces)) {
    const int64_t begin = (d.first + i * d.size) * align;
    fn({begin, std::min(n, begin + d.size * align)}, i + count_ >= d.pieces);
  }
}

Team::Team(int threads) : state_(std::make_unique<State>(threads > 0 ? threads : available_processors())) {
  // With more workers than processors, the one waited for may be waiting for the waiter's processor.
  state_->spins = state_->threads <= available_processors() ? kSpins : 0;
}

Team::~Team() = default;

int Team::size() const noexcept { return state_->threads; }

void Team::State::run(Team& team, int count, FunctionRef<void(Worker&)> fn) {
  if (count == 1) {
    Worker worker(team, 0, 1);
    fn(worker);
    return;
  }
  for (std::atomic<int64_t>& pieces : taken) pieces.store(0, std::memory_order_relaxed);
  const Allocator* const allocator = AllocatorScope::current();
  backend.run(count, [&](int index, int all) {
    const AllocatorScope scope(allocator);
    Worker worker(team, index, all);
    fn(worker);
  });
}

void Team::run(FunctionRef<void(Worker&)> fn) {
  const std::lock_guard<Turns> lock(state_->turn);
  State& s = *state_;
  const int count = s.size.active();
  if (s.threads == 1) return s.run(*this, 1, fn);
  s.waited.store(0, std::memory_order_relaxed);
  s.slept.store(0, std::memory_order_relaxed);
  s.idle.store(0, std::memory_order_relaxed);
  const Clock::time_point start = Clock::now();
  if (s.size.suspicious()) {
    s.run(*this, count, [&](Worker& worker) {
      const Clock::time_point begin = Clock::now();
      const int64_t cpu = thread_cpu_nanoseconds();
      fn(worker);
      const int64_t idle = nanoseconds(Clock::now() - begin) - (thread_cpu_nanoseconds() - cpu);
      s.idle.fetch_add(idle, std::memory_order_relaxed);
    });
  } else {
    s.run(*this, count, fn);
  }
  s.size.judge(nanoseconds(Clock::now() - start), s.waited.load(std::memory_order_relaxed),
               s.idle.load(std::memory_order_relaxed) - s.slept.load(std::memory_order_relaxed));
}

void Team::parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> fn) {
  if (n <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t chunks = std::max<int64_t>(n / grain, 1);  // the last one takes the remainder too
  const auto chunk = [&](int64_t i) { fn(i * grain, i + 1 == chunks ? n : (i + 1) * grain); };
  if (chunks == 1 || state_->threads == 1) {
    for (int64_t i = 0; i < chunks; ++i) chunk(i);
    return;
  }
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr first_failure;
  const auto work = [&](Worker&) noexcept {
    try {
      for (int64_t i = next.fetch_add(1, std::memory_order_relaxed); i < chunks;
           i = next.fetch_add(1, std::memory_order_relaxed)) {
        chunk(i);
      }
    } catch (...) {
      next.store(chunks, std::memory_order_relaxed);
      if (!failed.exchange(true, std::memory_order_relaxed)) first_failure = std::current_exception();
    }
  };
  {
    const std::lock_guard<Turns> lock(state_->turn);
    state_->run(*this, state_->threads, work);
  }
  if (first_failure) std::rethrow_exception(first_failure);
}

}  // namespace nbl
