#include <algorithm>
#include <new>
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

// The calling thread is worker 0; the others are made on the first run. Each waits for a number of its own to change, so that those
// that are left out of a run (TeamSize) are not woken for it, and no one waits for them.
struct TeamBackend::Threads {
  struct alignas(64) Seat {
    std::atomic<uint32_t> number{0};
    std::thread thread;
  };
  std::vector<Seat> seats;  ///< of workers 1 and up
  int made = 0;             ///< threads there are in them, once started
  const Job* job = nullptr;
  int working = 1;  ///< workers of this run
  const int spins;
  bool started = false;
  bool stop = false;
  const uint32_t made_after_forks = fork_count();
  alignas(64) std::atomic<uint32_t> busy{0};

  explicit Threads(int wanted)
      : seats(static_cast<std::size_t>(wanted - 1)), spins(wanted <= available_processors() ? kSpins : 0) {}

  void serve(int index) noexcept {
    const std::atomic<uint32_t>& number = seats[static_cast<std::size_t>(index - 1)].number;
    for (uint32_t seen = 0;;) {
      seen = wait_for_change(number, seen, spins);
      if (stop) return;
      (*job)(index, working);
      if (busy.fetch_sub(1, std::memory_order_acq_rel) == 1) busy.notify_one();
    }
  }

  void call(int index) noexcept {
    std::atomic<uint32_t>& number = seats[static_cast<std::size_t>(index - 1)].number;
    number.fetch_add(1, std::memory_order_release);
    number.notify_one();  // asks the system only when the thread sleeps there
  }

  void start() noexcept {
    started = true;
    try {
      for (; made < static_cast<int>(seats.size()); ++made) {
        seats[static_cast<std::size_t>(made)].thread = std::thread([this, index = made + 1] { serve(index); });
      }
    } catch (const std::exception&) {
      // No more threads are to be had: the team works with those that it got.
    }
  }
};

TeamBackend::TeamBackend(int threads) : workers_(std::make_unique<Threads>(threads)) {}

TeamBackend::~TeamBackend() {
  if (workers_->made_after_forks != fork_count()) {
    (void)workers_.release();  // as below
    return;
  }
  workers_->stop = true;
  for (int i = 1; i <= workers_->made; ++i) workers_->call(i);
  for (int i = 0; i < workers_->made; ++i) workers_->seats[static_cast<std::size_t>(i)].thread.join();
}

void TeamBackend::run(int wanted, Job fn) {
  if (workers_->made_after_forks != fork_count()) {
    // A forked child: the threads meant are the parent's, and cannot be joined here.
    try {
      auto mine = std::make_unique<Threads>(static_cast<int>(workers_->seats.size()) + 1);
      (void)workers_.release();
      workers_ = std::move(mine);
    } catch (const std::bad_alloc&) {
      fn(0, 1);
      return;
    }
  }
  if (!workers_->started) workers_->start();
  Threads& w = *workers_;
  w.job = &fn;
  w.working = std::min(wanted, w.made + 1);
  w.busy.store(static_cast<uint32_t>(w.working - 1), std::memory_order_relaxed);
  for (int i = 1; i < w.working; ++i) w.call(i);
  fn(0, w.working);
  for (uint32_t left = w.busy.load(std::memory_order_acquire); left != 0;)
    left = wait_for_change(w.busy, left, w.spins);
}

}  // namespace nbl
