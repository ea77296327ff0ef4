// What this machine can do at most: measured, not looked up. Benchmarks and `nibble info --measure` state their share
// of it.
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "base/parallel.h"
#include "base/status.h"

namespace nbl {

/// One thread and the whole team. 0: the machine has no such instructions.
struct Measured {
  double one = 0;
  double team = 0;
};

struct MachineLimits {
  int threads = 1;
  int64_t dram_bytes = 0;  ///< size of the array read for `dram`
  Measured dram;           ///< bytes a second read from memory
  Measured l2;             ///< bytes a second read from 512 KB a thread
  Measured f32_fma;        ///< operations a second, a fused step counts two
  Measured int8_dot;       ///< vector dot products of bytes
  Measured bf16_dot;       ///< AVX512-BF16
  Measured amx_int8;
  Measured amx_bf16;
  bool disturbed = false;  ///< other programs took part of the machine meanwhile: it can do more than this
};

struct LimitOptions {
  int64_t dram_bytes = 0;  ///< 0: twice the last-level cache, at least 256 MB, at most a quarter of the memory
  double seconds_each = 0.15;
};

/// Each number is the median of five rounds or more. Takes a second or two and the array's memory. Code::out_of_memory when that is not to be had.
Result<MachineLimits> measure_limits(Team& team, const LimitOptions& options = {});

/// The rate of `dram` alone, a few milliseconds a time: to be measured in turns with what it shall be compared with, where a machine's
/// memory gives more in one second than in the next.
class MemoryReader {
 public:
  /// With an array as measure_limits() has.
  static Result<MemoryReader> create(Team& team, int64_t bytes = 0);
  /// Bytes a second that the team reads, in one round.
  double read(Team& team) const;

 private:
  explicit MemoryReader(Buffer data) noexcept : data_(std::move(data)) {}
  Buffer data_;
};

}  // namespace nbl
