// A small random generator whose sequence is the same on every platform.
#pragma once

#include <cstdint>

namespace nbl {

/// xoshiro256** seeded through splitmix64 (Blackman and Vigna, 2018).
class Random {
 public:
  explicit Random(uint64_t seed) noexcept;
  uint64_t next() noexcept;
  /// Uniform in [0, 1), 24 bits.
  float uniform() noexcept;
  /// Uniform in [0, 1), 53 bits.
  double uniform_double() noexcept;
  /// Uniform in [0, n) without bias; n > 0.
  uint64_t below(uint64_t n) noexcept;
  /// Standard normal (Box-Muller).
  double normal() noexcept;

 private:
  uint64_t s_[4];
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace nbl
