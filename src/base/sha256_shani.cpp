// SHA-256 by x86's SHA instructions. Compiled with their flags; called only where the processor has them.
#if defined(__x86_64__)

#include <immintrin.h>

#include "base/sha256_blocks.h"

namespace nbl {

namespace {

/// The eight words as the instructions want them: (a, b, e, f) and (c, d, g, h), highest first.
struct State {
  __m128i abef, cdgh;

  explicit State(const uint32_t* h) noexcept {
    const __m128i low = _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(h)), 0xb1);
    const __m128i high = _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(h + 4)), 0x1b);
    abef = _mm_alignr_epi8(low, high, 8);
    cdgh = _mm_blend_epi16(high, low, 0xf0);
  }
  void store(uint32_t* h) const noexcept {
    const __m128i low = _mm_shuffle_epi32(abef, 0x1b), high = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(h), _mm_blend_epi16(low, high, 0xf0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(h + 4), _mm_alignr_epi8(high, low, 8));
  }
  void four_rounds(__m128i sum) noexcept {
    cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
    abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
  }
  void add(const State& before) noexcept {
    abef = _mm_add_epi32(abef, before.abef);
    cdgh = _mm_add_epi32(cdgh, before.cdgh);
  }
};

/// Takes the blocks into each of the states. A round waits for the one before it, so that a second state costs little more than one.
template <class... States>
inline void take_blocks(const uint8_t* p, size_t count, States&... states) noexcept {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  for (; count != 0; --count, p += 64) {
    const auto load = [&](int i) {
      return _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * i)), swap);
    };
    // The next four words of the schedule take the place of the oldest.
    const auto extend = [](__m128i& oldest, __m128i second, __m128i third, __m128i last) {
      const __m128i seventh = _mm_alignr_epi8(last, third, 4);
      oldest = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(oldest, second), seventh), last);
    };
    const auto rounds = [&](States... at) {
      const auto four_rounds = [&](__m128i words, int round) {
        const __m128i sum =
            _mm_add_epi32(words, _mm_loadu_si128(reinterpret_cast<const __m128i*>(kSha256Rounds + round)));
        (at.four_rounds(sum), ...);
      };
      __m128i w0 = load(0), w1 = load(1), w2 = load(2), w3 = load(3);
      four_rounds(w0, 0);
      four_rounds(w1, 4);
      four_rounds(w2, 8);
      four_rounds(w3, 12);
      for (int round = 16; round < 64; round += 16) {
        extend(w0, w1, w2, w3);
        four_rounds(w0, round);
        extend(w1, w2, w3, w0);
        four_rounds(w1, round + 4);
        extend(w2, w3, w0, w1);
        four_rounds(w2, round + 8);
        extend(w3, w0, w1, w2);
        four_rounds(w3, round + 12);
      }
      (states.add(at), ...);
    };
    rounds(states...);
  }
}

}  // namespace

void sha256_blocks_x86(uint32_t* h, const uint8_t* p, size_t count) noexcept {
  State state(h);
  take_blocks(p, count, state);
  state.store(h);
}

void sha256_blocks_pair_x86(uint32_t* h, uint32_t* other, const uint8_t* p, size_t count) noexcept {
  State state(h), second(other);
  take_blocks(p, count, state, second);
  state.store(h);
  second.store(other);
}

}  // namespace nbl

#endif
