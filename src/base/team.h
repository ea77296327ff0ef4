// What both ways of running a team share: std::thread (team_threads.cpp, the usual one) and OpenMP (team_openmp.cpp, for programs
// whose threads shall all be OpenMP's). CMake compiles one of them; docs/dependencies.md tells why.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "base/parallel.h"
#include "base/team_size.h"

namespace nbl {

/// Calls fn(index, count) once for each index of [0, count), at the same time, on count <= wanted <= threads threads.
/// One call at a time.
class TeamBackend {
 public:
  explicit TeamBackend(int threads);
  ~TeamBackend();
  TeamBackend(const TeamBackend&) = delete;
  TeamBackend& operator=(const TeamBackend&) = delete;
  void run(int wanted, FunctionRef<void(int index, int count)> fn);

 private:
  struct Threads;
  std::unique_ptr<Threads> workers_;
};

/// How often this process was forked off from another since the first team: a child has its parent's teams, but not
/// their threads.
uint32_t fork_count() noexcept;

/// First come, first served. std::mutex lets the thread that just left in again before those that wait: one that runs a long prompt
/// part by part would keep all others out until its end.
class Turns {
 public:
  void lock() noexcept {
    const uint32_t mine = next_.fetch_add(1, std::memory_order_relaxed);
    for (uint32_t now = serving_.load(std::memory_order_acquire); now != mine; now = serving_.load(std::memory_order_acquire))
      serving_.wait(now, std::memory_order_acquire);
  }
  void unlock() noexcept {
    serving_.fetch_add(1, std::memory_order_release);
    serving_.notify_all();
  }

 private:
  std::atomic<uint32_t> next_{0}, serving_{0};
};

struct Team::State {
  explicit State(int count) : threads(count), size(count), backend(count) {}
  void run(Team& team, int count, FunctionRef<void(Worker&)> fn);

  Turns turn;
  const int threads;
  int spins = 0;
  TeamSize size;
  /// Nanoseconds of all workers of a run: at barriers, asleep there, and off their processors.
  std::atomic<int64_t> waited{0}, slept{0}, idle{0};
  TeamBackend backend;
  // On lines of their own: all workers write the first and poll the second. `taken`, pieces of what is dealt out in even and odd
  // phases, is reset by the worker that arrived last, which has the first line at that moment.
  alignas(64) std::atomic<int> arrived{0};
  std::atomic<int64_t> taken[2] = {0, 0};
  alignas(64) std::atomic<uint32_t> phase{0};
};

/// Rounds of waiting in the processor (a tenth of a millisecond or so) before a thread is put to sleep.
inline constexpr int kSpins = 4000;

inline void pause_cpu() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

}  // namespace nbl
