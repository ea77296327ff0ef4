#include <omp.h>

#include "base/team.h"

namespace nbl {

struct TeamBackend::Threads {};

TeamBackend::TeamBackend(int threads) : threads_(threads) {}
TeamBackend::~TeamBackend() = default;

// The threads are OpenMP's, which keeps them between calls. It may give fewer than asked for (nested regions, a thread
// limit of the caller's); when the system refuses a thread altogether, GNU's runtime ends the process, which is its
// choice.
void TeamBackend::run(FunctionRef<void(int, int)> fn) {
#pragma omp parallel num_threads(threads_) default(shared)
  fn(omp_get_thread_num(), omp_get_num_threads());
}

}  // namespace nbl
