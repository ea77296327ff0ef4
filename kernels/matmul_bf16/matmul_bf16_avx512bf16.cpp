#include "kernels/matmul_bf16/matmul_bf16.h"
#include "kernels/simd/inline.h"
#include "kernels/simd/intrinsics.h"

namespace nbl::kernels {

namespace {
// clang-format off
#include "kernels/simd/bit_stream.inl"
#include "kernels/simd/lanes_avx512.inl"
#include "kernels/simd/unpack.inl"
#include "kernels/matmul_bf16/matmul_bf16.inl"
// clang-format on

NBL_INLINE __m512 dot_pairs(__m512 acc, __m512i w, __m512i x) {
#if defined(__clang__)
  return _mm512_dpbf16_ps(acc, (__m512bh)w, (__m512bh)x);
#else
  // As for vpdpbusd: keeps GCC 12 from copying accumulators.
  __asm__("vdpbf16ps %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));
  return acc;
#endif
}

struct DotBlock {
  template <int NT, int MR>
  static NBL_NOINLINE void rows(const uint8_t* const* panel, const uint16_t* x, int64_t x_stride, int64_t columns,
                                bool first, float* sums) {
    __m512 acc[NT][MR];
    NBL_EACH (t, NT)
      NBL_EACH (i, MR) acc[t][i] = first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + (i * NT + t) * kRows);
    const uint8_t* w0 = panel[0];
    const uint8_t* w1 = panel[NT - 1];
    for (int64_t k = 0; k < columns; k += 32, x += x_stride)
      for (int64_t j = 0; j < 32; j += 2) {
        const __m512i v0 = _mm512_loadu_si512(w0);
        const __m512i v1 = _mm512_loadu_si512(w1);
        w0 += 64;
        w1 += 64;
        NBL_EACH (i, MR) {
          const __m512i xb = Lanes512::quad(x + i * 32 + j);
          acc[0][i] = dot_pairs(acc[0][i], v0, xb);
          if (NT == 2) acc[NT - 1][i] = dot_pairs(acc[NT - 1][i], v1, xb);
        }
      }
    NBL_EACH (t, NT)
      NBL_EACH (i, MR) _mm512_storeu_ps(sums + (i * NT + t) * kRows, acc[t][i]);
  }

  template <int NT>
  void columns(const MatmulBf16Args& a, const uint8_t* const* panel, int64_t k0, int64_t columns, int64_t i0,
               int64_t i1, float* sums) const {
    const int64_t stride = a.m * 32;
    const uint16_t* x = a.x + k0 / 32 * stride;
    int64_t i = i0;
    const auto at = [&](int64_t row) { return sums + (row - i0) * NT * kRows; };
    for (; i + 12 <= i1; i += 12) rows<NT, 12>(panel, x + i * 32, stride, columns, k0 == 0, at(i));
    for (; i + 4 <= i1; i += 4) rows<NT, 4>(panel, x + i * 32, stride, columns, k0 == 0, at(i));
    for (; i < i1; ++i) rows<NT, 1>(panel, x + i * 32, stride, columns, k0 == 0, at(i));
  }
};
}  // namespace

void matmul_bf16__avx512bf16(const MatmulBf16Args* args) noexcept { matmul_bf16_body(*args, DotBlock()); }

}  // namespace nbl::kernels
