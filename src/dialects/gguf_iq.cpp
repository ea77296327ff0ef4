#include "dialects/gguf_iq.h"

#include <bit>
#include <cstring>

#include "base/half.h"

namespace nbl::dialects::iq {
namespace {

#define NBL_GRID(name, count) constexpr uint16_t name[count] = {
#define NBL_GRID_END \
  }                  \
  ;
#include "dialects/gguf_grids.inc"
#undef NBL_GRID
#undef NBL_GRID_END

constexpr uint8_t kNegative = 8;  // the code's bit for the sign (IQ2, IQ3)
constexpr uint8_t kMinus = 4;     // the code's bit for the negative shift (IQ1)

uint16_t word_at(const uint8_t* p) noexcept {
  uint16_t word;
  std::memcpy(&word, p, 2);
  return word;
}
uint32_t dword_at(const uint8_t* p) noexcept {
  uint32_t word;
  std::memcpy(&word, p, 4);
  return word;
}

// Seven stored signs; the eighth makes their number even.
uint32_t eight_signs(uint32_t seven) noexcept {
  seven &= 0x7f;
  return seven | static_cast<uint32_t>(std::popcount(seven) & 1) << 7;
}

// `count` coordinates of `bits` bits each, with sign bit i for coordinate i.
void point(uint16_t entry, int bits, int count, uint32_t signs, uint8_t* codes) noexcept {
  for (int i = 0; i < count; ++i) {
    const int digit = (entry >> (bits * i)) & ((1 << bits) - 1);
    codes[i] = static_cast<uint8_t>(digit | ((signs >> i & 1) != 0 ? kNegative : 0));
  }
}

float quarter_scale(float d, int scale) noexcept { return d * (0.5f + static_cast<float>(scale)) * 0.25f; }

}  // namespace

const float kIq2Table[16] = {8, 25, 43, 0, 0, 0, 0, 0, -8, -25, -43, 0, 0, 0, 0, 0};
const float kIq3xxsTable[16] = {4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62};
const float kIq3sTable[16] = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15};
// Coordinates -1, 0, 1, shifted by an eighth up or down.
const float kIq1Table[16] = {-0.875f, 0.125f, 1.125f, 0, -1.125f, -0.125f, 0.875f, 0, 0, 0, 0, 0, 0, 0, 0, 0};

void iq2_xxs(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const float d = f16_to_f32(word_at(b));
  for (int i = 0; i < 8; ++i) {
    const uint8_t* index = b + 2 + 8 * i;
    const uint32_t rest = dword_at(index + 4);
    scales[i] = quarter_scale(d, static_cast<int>(rest >> 28));
    for (int j = 0; j < 4; ++j) point(kIq2Xxs[index[j]], 2, 8, eight_signs(rest >> (7 * j)), codes + 32 * i + 8 * j);
  }
}

void iq2_xs(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const float d = f16_to_f32(word_at(b));
  for (int i = 0; i < 16; ++i) scales[i] = quarter_scale(d, (b[66 + i / 2] >> (4 * (i % 2))) & 15);
  for (int j = 0; j < 32; ++j) {
    const uint16_t word = word_at(b + 2 + 2 * j);
    point(kIq2Xs[word & 511], 2, 8, eight_signs(word >> 9), codes + 8 * j);
  }
}

void iq2_s(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const uint8_t *qs = b + 2, *signs = b + 34, *qh = b + 66, *sc = b + 74;
  const float d = f16_to_f32(word_at(b));
  for (int i = 0; i < 16; ++i) scales[i] = quarter_scale(d, (sc[i / 2] >> (4 * (i % 2))) & 15);
  for (int j = 0; j < 32; ++j) {
    const int index = qs[j] | ((qh[j / 4] >> (2 * (j % 4))) & 3) << 8;
    point(kIq2S[index], 2, 8, signs[j], codes + 8 * j);
  }
}

void iq3_xxs(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const float d = f16_to_f32(word_at(b));
  for (int i = 0; i < 8; ++i) {
    const uint32_t rest = dword_at(b + 66 + 4 * i);
    scales[i] = d * (0.5f + static_cast<float>(rest >> 28)) * 0.5f;
    for (int j = 0; j < 8; ++j) {
      const uint32_t signs = eight_signs(rest >> (7 * (j / 2))) >> (4 * (j % 2));
      point(kIq3Xxs[b[2 + 8 * i + j]], 3, 4, signs, codes + 32 * i + 4 * j);
    }
  }
}

void iq3_s(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const uint8_t *qs = b + 2, *qh = b + 66, *signs = b + 74, *sc = b + 106;
  const float d = f16_to_f32(word_at(b));
  for (int i = 0; i < 8; ++i) scales[i] = d * static_cast<float>(1 + 2 * ((sc[i / 2] >> (4 * (i % 2))) & 15));
  for (int j = 0; j < 64; ++j) {
    const int index = qs[j] | ((qh[j / 8] >> (j % 8)) & 1) << 8;
    point(kIq3S[index], 3, 4, static_cast<uint32_t>(signs[j / 2] >> (4 * (j % 2))), codes + 4 * j);
  }
}

void iq1_s(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const uint8_t *qs = b + 2, *qh = b + 34;
  const float d = f16_to_f32(word_at(b));
  for (int i = 0; i < 8; ++i) {
    const uint16_t high = word_at(qh + 2 * i);
    scales[i] = d * static_cast<float>(2 * ((high >> 12) & 7) + 1);
    for (int j = 0; j < 4; ++j) {
      const uint16_t entry = kIq1S[qs[4 * i + j] | ((high >> (3 * j)) & 7) << 8];
      for (int e = 0; e < 8; ++e) {
        codes[32 * i + 8 * j + e] =
            static_cast<uint8_t>(((entry >> (2 * e)) & 3) | ((high & 0x8000) != 0 ? kMinus : 0));
      }
    }
  }
}

void iq1_m(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const uint8_t *qs = b, *qh = b + 32, *sc = b + 48;
  unsigned bits = 0;  // the f16 scale lies in the top nibbles of four words
  for (unsigned i = 0; i < 4; ++i) bits |= static_cast<unsigned>(word_at(sc + 2 * i) >> 12) << (4 * i);
  const float d = f16_to_f32(static_cast<uint16_t>(bits));
  for (int i = 0; i < 16; ++i) {
    scales[i] = d * static_cast<float>(2 * ((word_at(sc + 2 * (i / 4)) >> (3 * (i % 4))) & 7) + 1);
  }
  for (int j = 0; j < 32; ++j) {
    const int high = qh[j / 2] >> (4 * (j % 2));
    const uint16_t entry = kIq1S[qs[j] | (high & 7) << 8];
    for (int e = 0; e < 8; ++e) {
      codes[8 * j + e] = static_cast<uint8_t>(((entry >> (2 * e)) & 3) | ((high & 8) != 0 ? kMinus : 0));
    }
  }
}

}  // namespace nbl::dialects::iq
