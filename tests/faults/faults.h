// Faults on demand: while armed, the n-th call of one kind that this thread makes fails, as the system would make it fail.
#pragma once

#include <cstdint>

namespace nbl::faults {

enum class Kind : int32_t { allocate, open, read, write, sync, rename, map, thread, truncate, remove };
inline constexpr Kind kKinds[] = {Kind::allocate, Kind::open, Kind::read, Kind::write, Kind::sync, Kind::rename, Kind::map};
const char* name(Kind kind);

/// Counts calls of `kind` by this thread from now on and fails number `n` (from 0) with errno `error`. n < 0: fails none.
/// With `short_io`, the n-th read or write moves a byte fewer than it was asked for instead of failing; with error EINTR it
/// fails once and works when it is tried again, as all kinds do.
void arm(Kind kind, int64_t n, int error, bool short_io = false);
/// While on, every clock that this process reads jumps to and fro by days.
void let_clocks_jump(bool on);
/// Bytes allocated and not yet freed by all threads, and the most they have been since the last forget_peak().
int64_t live_bytes();
int64_t peak_bytes();
void forget_peak();
/// Stops, and returns how many calls there were.
int64_t disarm();
/// Fails allocation number `n` (from 0) of all threads together, whichever makes it.
void arm_allocations(int64_t n);
/// Stops, and returns how many there were; no more than n + 1.
int64_t disarm_allocations();
/// Whether the fault was met since arm().
bool struck();
/// Bytes and blocks allocated and not yet freed, by all threads.
int64_t live_blocks();

}  // namespace nbl::faults
