// Seeds and numbers of random cases, which the environment may set.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace nbl::test {

/// The seed of a test: NIBBLE_TEST_SEED if set. Put it into SCOPED_TRACE.
inline uint64_t test_seed(uint64_t fallback) {
  const char* text = std::getenv("NIBBLE_TEST_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : fallback;
}

/// How many random cases a family is tried with: NIBBLE_TEST_CASES, or 10,000.
inline int random_cases() {
  const char* text = std::getenv("NIBBLE_TEST_CASES");
  return text != nullptr ? std::atoi(text) : 10000;
}

}  // namespace nbl::test
