// Running a program that nobody has read: what a model wrote.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace nbl::eval {

struct SandboxLimits {
  double seconds = 10;                        ///< wall clock
  int64_t cpu_seconds = 5;
  int64_t memory_bytes = int64_t{1} << 30;    ///< address space
};

enum class Outcome : uint8_t { passed, failed, timed_out, killed };

struct SandboxResult {
  Outcome outcome = Outcome::failed;
  std::string output;  ///< the last 4 KiB of what it wrote
};

/// Runs `interpreter -` with `program` on its standard input, in a process of its own: no network, no new processes, no signals
/// to others, no file opened for writing, made, renamed or removed; processor time, memory, open files and wall clock limited;
/// an empty environment. The system call filter refuses, it does not hide: the program may read what its user may read.
/// unsupported: not Linux, or a kernel without seccomp filters. passed: it ended with status 0.
Result<SandboxResult> run_sandboxed(std::string_view interpreter, std::string_view program, const SandboxLimits& limits);

}  // namespace nbl::eval
