#include "base/random.h"

#include <bit>
#include <cmath>
#include <numbers>

namespace nbl {

Random::Random(uint64_t seed) noexcept {
  for (uint64_t& s : s_) {  // splitmix64
    seed += 0x9e3779b97f4a7c15U;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    s = z ^ (z >> 31);
  }
}

uint64_t Random::next() noexcept {  // xoshiro256**
  const uint64_t result = std::rotl(s_[1] * 5, 7) * 9;
  const uint64_t t = s_[1] << 17;
  s_[2] ^= s_[0];
  s_[3] ^= s_[1];
  s_[1] ^= s_[2];
  s_[0] ^= s_[3];
  s_[2] ^= t;
  s_[3] = std::rotl(s_[3], 45);
  return result;
}

float Random::uniform() noexcept { return static_cast<float>(next() >> 40) * 0x1p-24F; }

double Random::uniform_double() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

uint64_t Random::below(uint64_t n) noexcept {
  // Draws below 2^64 mod n are refused, so that every remainder is equally likely.
  const uint64_t refused = (0 - n) % n;
  uint64_t x = next();
  while (x < refused) x = next();
  return x % n;
}

double Random::normal() noexcept {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform_double()));
  const double angle = 2.0 * std::numbers::pi * uniform_double();
  spare_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

}  // namespace nbl
