// How often this program allocated while counting was on: steps that must not allocate are caught doing it.
#pragma once

#include <atomic>
#include <cstdint>

namespace nbl::model::test {

extern std::atomic<bool> counting;
extern std::atomic<int64_t> allocations;

}  // namespace nbl::model::test
