#include <algorithm>
#include <system_error>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "base/team.h"

namespace nbl {
namespace {

using Job = FunctionRef<void(int, int)>;

// Waits in the processor for a moment, then in the system, until the number is no longer `old`.
uint32_t wait_for_change(const std::atomic<uint32_t>& number, uint32_t old, int spins) noexcept {
  for (int i = 0; i < spins; ++i) {
    const uint32_t now = number.load(std::memory_order_acquire);
    if (now != old) return now;
    pause_cpu();
  }
  number.wait(old, std::memory_order_acquire);
  return number.load(std::memory_order_acquire);
}

}  // namespace

// The calling thread is worker 0; the others are made on the first run and wait for their next job by its number.
struct TeamBackend::Threads {
  std::vector<std::thread> list;
  const Job* job = nullptr;
  int count = 1;    ///< threads there are
  int working = 1;  ///< of them, in this run
  int spins = 0;
  bool stop = false;
  const uint32_t made_after_forks = fork_count();
  alignas(64) std::atomic<uint32_t> number{0};
  alignas(64) std::atomic<uint32_t> busy{0};

  void serve(int index) noexcept {
    for (uint32_t seen = 0;;) {
      seen = wait_for_change(number, seen, spins);
      if (stop) return;
      if (index < working) (*job)(index, working);
      if (busy.fetch_sub(1, std::memory_order_acq_rel) == 1) busy.notify_one();
    }
  }

  void start(int wanted) noexcept {
    try {
      list.reserve(static_cast<std::size_t>(wanted - 1));
      for (int i = 1; i < wanted; ++i) list.emplace_back([this, i] { serve(i); });
    } catch (const std::exception&) {
      // No more threads are to be had: the team works with those that it got.
    }
    count = static_cast<int>(list.size()) + 1;
  }
};

TeamBackend::TeamBackend(int threads) : threads_(threads) {}

TeamBackend::~TeamBackend() {
  if (!workers_) return;
  if (workers_->made_after_forks != fork_count()) {
    (void)workers_.release();  // as below
    return;
  }
  workers_->stop = true;
  workers_->number.fetch_add(1, std::memory_order_release);
  workers_->number.notify_all();
  for (std::thread& t : workers_->list) t.join();
}

void TeamBackend::run(int wanted, Job fn) {
  if (workers_ && workers_->made_after_forks != fork_count()) {
    (void)workers_.release();  // a forked child: the threads meant are the parent's, and cannot be joined here
  }
  if (!workers_) {
    workers_ = std::make_unique<Threads>();
    workers_->spins = threads_ <= available_processors() ? kSpins : 0;
    workers_->start(threads_);
  }
  Threads& w = *workers_;
  w.job = &fn;
  w.working = std::min(wanted, w.count);
  w.busy.store(static_cast<uint32_t>(w.count - 1), std::memory_order_relaxed);
  w.number.fetch_add(1, std::memory_order_release);
  w.number.notify_all();
  fn(0, w.working);
  for (uint32_t left = w.busy.load(std::memory_order_acquire); left != 0;)
    left = wait_for_change(w.busy, left, w.spins);
}

}  // namespace nbl
