// Processor time of the calling thread: tests that something ends say how much of it, so that a busy machine does not fail them.
#pragma once

#include <ctime>

namespace nbl {

inline double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace nbl
