#include "dialects/bitpack.h"

#include "tensor/tiles.h"

namespace nbl::dialects {
namespace {

// A run of 32 fields of w bits that starts at bit `begin` of the words.
void take_fields(int w, int64_t begin, int shift, const uint32_t* words, int64_t stride, uint8_t* codes) noexcept {
  const uint32_t mask = (1u << w) - 1u;
  for (int64_t i = 0; i < 32; ++i) {
    const int64_t bit = begin + i * w, word = bit / 32, offset = bit % 32;
    uint32_t field = words[word * stride] >> offset;
    if (offset + w > 32) field |= words[(word + 1) * stride] << (32 - offset);
    codes[i] = static_cast<uint8_t>(codes[i] | (field & mask) << shift);
  }
}

void put_fields(int w, int64_t begin, int shift, const uint8_t* codes, uint32_t* words, int64_t stride) noexcept {
  const uint32_t mask = (1u << w) - 1u;
  for (int64_t i = 0; i < 32; ++i) {
    const int64_t bit = begin + i * w, word = bit / 32, offset = bit % 32;
    const uint32_t field = static_cast<uint32_t>(codes[i] >> shift) & mask;
    words[word * stride] |= field << offset;
    if (offset + w > 32) words[(word + 1) * stride] |= field >> (32 - offset);
  }
}

}  // namespace

void unpack_words(int bits, WordOrder order, const uint32_t* words, int64_t stride, uint8_t* codes) noexcept {
  for (int i = 0; i < 32; ++i) codes[i] = 0;
  if (order == WordOrder::stream) return take_fields(bits, 0, 0, words, stride, codes);
  const Planes planes = planes_of(bits);
  int64_t begin = 0;
  int shift = 0;
  for (int p = 0; p < planes.count; ++p) {
    take_fields(planes.width[p], begin, shift, words, stride, codes);
    begin += int64_t{32} * planes.width[p];
    shift += planes.width[p];
  }
}

void pack_words(int bits, WordOrder order, const uint8_t* codes, uint32_t* words, int64_t stride) noexcept {
  for (int64_t i = 0; i < bits; ++i) words[i * stride] = 0;
  if (order == WordOrder::stream) return put_fields(bits, 0, 0, codes, words, stride);
  const Planes planes = planes_of(bits);
  int64_t begin = 0;
  int shift = 0;
  for (int p = 0; p < planes.count; ++p) {
    put_fields(planes.width[p], begin, shift, codes, words, stride);
    begin += int64_t{32} * planes.width[p];
    shift += planes.width[p];
  }
}

}  // namespace nbl::dialects
