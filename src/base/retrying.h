// System calls that a signal does not make fail: some file systems are interrupted while they open or write.
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <cerrno>

namespace nbl {

/// What call() gives, called again as long as it is -1 with EINTR.
template <class Call>
int retrying(Call call) noexcept {
  int result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

/// A descriptor that a child does not inherit, or -1 with errno.
inline int open_retrying(const char* path, int flags, mode_t mode = 0) noexcept {
  return retrying([&] { return ::open(path, flags | O_CLOEXEC, mode); });
}

}  // namespace nbl
