// Python's random.Random, number for number: few-shot examples and bootstrap samples are drawn as lm-evaluation-harness
// draws them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace nbl::eval {

/// MT19937 seeded as CPython seeds it from an integer.
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);
  uint32_t next();
  /// random.random(): [0, 1), 53 bits.
  double random();
  /// random._randbelow(n), n >= 1.
  uint64_t below(uint64_t n);
  /// random.choices(range(n), k=k).
  void choices(std::size_t n, std::size_t k, std::vector<std::size_t>& out);
  /// random.sample(range(n), k), k <= n.
  std::vector<std::size_t> sample(std::size_t n, std::size_t k);
  /// random.shuffle(list(range(n))).
  std::vector<std::size_t> shuffled(std::size_t n);

 private:
  uint64_t bits(int count);  ///< random.getrandbits(count), count <= 64
  std::array<uint32_t, 624> state_;
  std::size_t at_ = 624;
};

}  // namespace nbl::eval
