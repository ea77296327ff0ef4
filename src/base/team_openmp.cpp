#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <vector>

#include "base/team.h"

namespace nbl {

namespace {

/// How many threads the system gives at this moment, the calling one included, of the number wanted: as many are made at the same
/// time, and end at once. GNU's runtime ends the process when it cannot make one of its own.
int threads_to_be_had(int wanted) noexcept {
  try {
    std::vector<pthread_t> made(static_cast<std::size_t>(wanted - 1));
    std::atomic<bool> go{false};
    const auto wait = [](void* gate) -> void* {
      static_cast<std::atomic<bool>*>(gate)->wait(false);
      return nullptr;
    };
    std::size_t count = 0;
    while (count < made.size() && ::pthread_create(&made[count], nullptr, wait, &go) == 0) ++count;
    go = true;
    go.notify_all();
    for (std::size_t i = 0; i < count; ++i) ::pthread_join(made[i], nullptr);
    return static_cast<int>(count) + 1;
  } catch (const std::bad_alloc&) {
    return 1;
  }
}

}  // namespace

struct TeamBackend::Threads {};

TeamBackend::TeamBackend(int) {}
TeamBackend::~TeamBackend() = default;

// The threads are OpenMP's, which keeps them between calls, a set for each calling thread. It may give fewer than asked
// for (nested regions, a thread limit of the caller's); when the system refuses a thread altogether, GNU's runtime ends
// the process, which is its choice. In a forked child it would wait for threads that only the parent has: a caller
// whose set was left behind works alone.
void TeamBackend::run(int wanted, FunctionRef<void(int, int)> fn) {
  static thread_local uint32_t set_made_after = fork_count();
  if (set_made_after != fork_count()) {
    fn(0, 1);
    return;
  }
  // OpenMP keeps a set for each calling thread: what it may ask for is found out once for each.
  static thread_local int asked = 1, given = 1;
  if (wanted > asked) {
    asked = wanted;
    given = std::max(given, threads_to_be_had(wanted));
  }
  const int count = std::min(wanted, given);
  if (count == 1) {
    fn(0, 1);
    return;
  }
#pragma omp parallel num_threads(count) default(shared)
  fn(omp_get_thread_num(), omp_get_num_threads());
}

}  // namespace nbl
