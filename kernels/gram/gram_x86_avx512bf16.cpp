#include "kernels/gram/gram.h"
#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels {
namespace {

NBL_INLINE __m512 dot_pairs(__m512 acc, __m512i a, __m512i b) {
#if defined(__clang__)
  return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
#else
  // Keeps GCC 12 from copying accumulators.
  __asm__("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
  return acc;
#endif
}

constexpr int kRows = 8, kVectors = kGramPanel / 16;

NBL_INLINE __m512i rounded(__m512 x) { return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x)); }

}  // namespace

// Eight rows of the block at a time: 24 registers of sums, 3 of the right panel, a pair of the left one in every lane.
void gram_bf16_8x48__avx512bf16(const GramBf16Args* args) {
  for (int i = 0; i < kGramPanel; i += kRows) {
    __m512 acc[kRows][kVectors];
    NBL_EACH (r, kRows)
      NBL_EACH (v, kVectors) acc[r][v] = _mm512_setzero_ps();
    const uint16_t* a = args->a + 2 * i;
    const uint16_t* b = args->b;
    for (int64_t t = 0; t < args->pairs; ++t, a += 2 * kGramPanel, b += 2 * kGramPanel) {
      __m512i right[kVectors];
      NBL_EACH (v, kVectors) right[v] = _mm512_load_si512(b + 32 * v);
      NBL_EACH (r, kRows) {
        int32_t pair;
        __builtin_memcpy(&pair, a + 2 * r, 4);
        const __m512i left = _mm512_set1_epi32(pair);
        NBL_EACH (v, kVectors) acc[r][v] = dot_pairs(acc[r][v], left, right[v]);
      }
    }
    NBL_EACH (r, kRows) {
      float* c = args->c + (i + r) * kGramPanel;
      NBL_EACH (v, kVectors)
        _mm512_store_ps(c + 16 * v, _mm512_add_ps(_mm512_load_ps(c + 16 * v), acc[r][v]));
    }
  }
}

void gram_pack__avx512bf16(const GramPackArgs* args) {
  const GramPackArgs& p = *args;
  uint16_t* out = p.out;
  for (int64_t t = 0; t < p.tokens; t += 2) {
    for (int64_t c = 0; c < kGramPanel; c += 16, out += 32) {
      const int64_t left = p.columns - c;
      const __mmask16 mask = static_cast<__mmask16>(left >= 16 ? 0xffff : left <= 0 ? 0 : (1 << left) - 1);
      __m512i pair = _mm512_setzero_si512();
      for (int64_t h = 0; h < 2 && t + h < p.tokens; ++h) {
        __m512 x = _mm512_maskz_loadu_ps(mask, p.x + (t + h) * p.ldx + c);
        if (p.minus != nullptr) x = _mm512_sub_ps(x, _mm512_maskz_loadu_ps(mask, p.minus + (t + h) * p.ld_minus + c));
        if (p.factor != nullptr) x = _mm512_mul_ps(x, _mm512_set1_ps(p.factor[t + h]));
        pair = _mm512_or_si512(pair, h == 0 ? rounded(x) : _mm512_slli_epi32(rounded(x), 16));
      }
      _mm512_store_si512(out, pair);
    }
  }
}

}  // namespace nbl::kernels
