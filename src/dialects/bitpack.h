// Codes in 32-bit words, the ways GPTQ and its relatives pack them: always 32 codes of b bits in b words, least
// significant bits first. `stride` is the distance between a run's words, so that a run may lie along either axis of a
// matrix.
#pragma once

#include <cstdint>

namespace nbl::dialects {

/// How 32 codes of 3, 5, 6 or 7 bits share their words. For 1, 2, 4 and 8 bits both are the same.
enum class WordOrder : uint8_t {
  stream,  ///< one stream of bits: code i starts at bit i * b
  planar,  ///< planes of 4, 2 and 1 bits one after the other, low bits of the codes first (3 = 2 + 1)
};

/// 32 codes from `bits` words.
void unpack_words(int bits, WordOrder order, const uint32_t* words, int64_t stride, uint8_t* codes) noexcept;
/// 32 codes into `bits` words, which are overwritten.
void pack_words(int bits, WordOrder order, const uint8_t* codes, uint32_t* words, int64_t stride) noexcept;

/// How many words hold `count` codes; -1 when that is no whole number.
constexpr int64_t words_for(int64_t count, int bits) noexcept {
  return count * bits % 32 == 0 ? count * bits / 32 : -1;
}

}  // namespace nbl::dialects
