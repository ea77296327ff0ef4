#include <omp.h>

#include "base/team.h"

namespace nbl {

struct TeamBackend::Threads {};

TeamBackend::TeamBackend(int threads) : threads_(threads) { (void)threads_; }
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
#pragma omp parallel num_threads(wanted) default(shared)
  fn(omp_get_thread_num(), omp_get_num_threads());
}

}  // namespace nbl
