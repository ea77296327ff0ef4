// Sixteen floats as one value, on any instruction set: the vector that the element-wise and attention kernels are
// written in. Every sum runs in the same sixteen lanes and is folded in the same order whatever the register width, so
// all instruction sets give the same bytes. Included by instruction-set files only; everything lies in an unnamed
// namespace, so nothing compiled here can be linked into code for another processor.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__) || defined(__aarch64__)
#define NBL_LANES_XSIMD 1
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes its own AVX-512 intrinsics' undefined operands for uninitialized variables of ours.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <xsimd/xsimd.hpp>
#endif

#define NBL_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define NBL_UNROLL _Pragma("clang loop unroll(full)")
#else
#define NBL_UNROLL _Pragma("GCC unroll 16")
#endif

namespace nbl::kernels {
namespace {

/// Without vector instructions: the reference that the others must equal.
struct ScalarLanes {
  static constexpr bool kHalves = false;
  struct V {
    float v[16];
  };
  template <class F>
  static NBL_INLINE V map(F f) {
    V r;
    for (int i = 0; i < 16; ++i) r.v[i] = f(i);
    return r;
  }
  static NBL_INLINE V set(float x) {
    return map([&](int) { return x; });
  }
  static NBL_INLINE V load(const float* p) {
    return map([&](int i) { return p[i]; });
  }
  static NBL_INLINE void store(float* p, V a) {
    for (int i = 0; i < 16; ++i) p[i] = a.v[i];
  }
  static NBL_INLINE V add(V a, V b) {
    return map([&](int i) { return a.v[i] + b.v[i]; });
  }
  static NBL_INLINE V sub(V a, V b) {
    return map([&](int i) { return a.v[i] - b.v[i]; });
  }
  static NBL_INLINE V mul(V a, V b) {
    return map([&](int i) { return a.v[i] * b.v[i]; });
  }
  static NBL_INLINE V div(V a, V b) {
    return map([&](int i) { return a.v[i] / b.v[i]; });
  }
  static NBL_INLINE V fma(V a, V b, V c) {
    return map([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
  }
  static NBL_INLINE V max(V a, V b) {
    return map([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  static NBL_INLINE V min(V a, V b) {
    return map([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
  }
  /// a < b ? x : y, lane by lane.
  static NBL_INLINE V select_less(V a, V b, V x, V y) {
    return map([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
  }
  /// a with `bits(b) << 23` added to its bits: a * 2^n when b is n + 1.5 * 2^23.
  static NBL_INLINE V add_exponent(V a, V b) {
    return map([&](int i) {
      uint32_t x, n;
      std::memcpy(&x, &a.v[i], 4);
      std::memcpy(&n, &b.v[i], 4);
      x += n << 23;
      float r;
      std::memcpy(&r, &x, 4);
      return r;
    });
  }
};

#ifdef NBL_LANES_XSIMD
/// a * b + c in one rounding. xsimd 8 has no such instruction for AVX-512 and would round twice there.
template <class Arch>
NBL_INLINE xsimd::batch<float, Arch> fused(xsimd::batch<float, Arch> a, xsimd::batch<float, Arch> b,
                                           xsimd::batch<float, Arch> c) {
#if defined(__AVX512F__)
  if constexpr (xsimd::batch<float, Arch>::size == 16)
    return _mm512_fmadd_ps(a, b, c);
  else
#endif
    return xsimd::fma(a, b, c);
}

/// a / b, correctly rounded. xsimd 8 approximates it on NEON, from an estimate of the reciprocal.
template <class Arch>
NBL_INLINE xsimd::batch<float, Arch> quotient(xsimd::batch<float, Arch> a, xsimd::batch<float, Arch> b) {
#if defined(__aarch64__)
  return vdivq_f32(a, b);
#else
  return a / b;
#endif
}

template <class Arch>
struct XsimdLanes {
  using B = xsimd::batch<float, Arch>;
  using I = xsimd::batch<int32_t, Arch>;
  static constexpr int kWidth = static_cast<int>(B::size);
  static constexpr int kParts = 16 / kWidth;
#if defined(__AVX2__)
  static constexpr bool kHalves = true;
#else
  static constexpr bool kHalves = false;
#endif
  struct V {
    B r[kParts];
  };
  template <class F>
  static NBL_INLINE V map(F f) {
    V v;
    NBL_UNROLL for (int i = 0; i < kParts; ++i) v.r[i] = f(i);
    return v;
  }
  static NBL_INLINE V set(float x) {
    return map([&](int) { return B(x); });
  }
  static NBL_INLINE V load(const float* p) {
    return map([&](int i) { return B::load_unaligned(p + i * kWidth); });
  }
  static NBL_INLINE void store(float* p, V a) {
    NBL_UNROLL for (int i = 0; i < kParts; ++i) a.r[i].store_unaligned(p + i * kWidth);
  }
  static NBL_INLINE V add(V a, V b) {
    return map([&](int i) { return a.r[i] + b.r[i]; });
  }
  static NBL_INLINE V sub(V a, V b) {
    return map([&](int i) { return a.r[i] - b.r[i]; });
  }
  static NBL_INLINE V mul(V a, V b) {
    return map([&](int i) { return a.r[i] * b.r[i]; });
  }
  static NBL_INLINE V div(V a, V b) {
    return map([&](int i) { return quotient<Arch>(a.r[i], b.r[i]); });
  }
  static NBL_INLINE V fma(V a, V b, V c) {
    return map([&](int i) { return fused<Arch>(a.r[i], b.r[i], c.r[i]); });
  }
  static NBL_INLINE V max(V a, V b) {
    return map([&](int i) { return xsimd::max(a.r[i], b.r[i]); });
  }
  static NBL_INLINE V min(V a, V b) {
    return map([&](int i) { return xsimd::min(a.r[i], b.r[i]); });
  }
  static NBL_INLINE V select_less(V a, V b, V x, V y) {
    return map([&](int i) { return xsimd::select(a.r[i] < b.r[i], x.r[i], y.r[i]); });
  }
#if defined(__AVX2__)
  /// Lanes 0-7 and 8-15.
  static NBL_INLINE __m256 low(V a) {
#if defined(__AVX512F__)
    return _mm512_castps512_ps256(a.r[0]);
#else
    return a.r[0];
#endif
  }
  static NBL_INLINE __m256 high(V a) {
#if defined(__AVX512F__)
    return _mm512_extractf32x8_ps(a.r[0], 1);
#else
    return a.r[1];
#endif
  }
#endif
  static NBL_INLINE V add_exponent(V a, V b) {
    return map([&](int i) {
      const I sum = xsimd::bitwise_cast<I>(a.r[i]) + (xsimd::bitwise_cast<I>(b.r[i]) << 23);
      return xsimd::bitwise_cast<B>(sum);
    });
  }
};
#endif

/// What the kernels say beyond single operations, the same for every L.
template <class L>
struct Vec {
  using V = typename L::V;

  /// The first n < 16 floats at p, zeros after them; reads nothing beyond.
  static NBL_INLINE V load_part(const float* p, int64_t n) {
    float t[16] = {};
    for (int64_t i = 0; i < n; ++i) t[i] = p[i];
    return L::load(t);
  }
  static NBL_INLINE void store_part(float* p, V a, int64_t n) {
    float t[16];
    L::store(t, a);
    for (int64_t i = 0; i < n; ++i) p[i] = t[i];
  }
  /// Lanes i and i + 8, then i and i + 4, i + 2, i + 1: this order on every instruction set.
  static NBL_INLINE float sum(V a) {
#if defined(__AVX2__)
    if constexpr (L::kHalves) {
      const __m256 x = _mm256_add_ps(L::low(a), L::high(a));
      __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
      y = _mm_add_ps(y, _mm_movehl_ps(y, y));
      return _mm_cvtss_f32(_mm_add_ss(y, _mm_shuffle_ps(y, y, 1)));
    }
#endif
    float t[16];
    L::store(t, a);
    for (int w = 8; w > 0; w /= 2)
      for (int i = 0; i < w; ++i) t[i] += t[i + w];
    return t[0];
  }
  static NBL_INLINE float largest(V a) {
#if defined(__AVX2__)
    if constexpr (L::kHalves) {
      const __m256 x = _mm256_max_ps(L::low(a), L::high(a));
      __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
      y = _mm_max_ps(y, _mm_movehl_ps(y, y));
      return _mm_cvtss_f32(_mm_max_ss(y, _mm_shuffle_ps(y, y, 1)));
    }
#endif
    float t[16];
    L::store(t, a);
    for (int w = 8; w > 0; w /= 2)
      for (int i = 0; i < w; ++i) t[i] = t[i] > t[i + w] ? t[i] : t[i + w];
    return t[0];
  }
  /// 0, 1, ... 15.
  static NBL_INLINE V indices() {
    static constexpr float kIndices[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return L::load(kIndices);
  }
  /// e^x within 2 units in the last place; 0 below -87.3, infinity above 88.72.
  static NBL_INLINE V exp(V x) {
    const V lowest = L::set(-87.3f), highest = L::set(88.72f);
    const V shift = L::set(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer held in the low bits
    // The operands' order lets a NaN through: max and min of these machines return the second one then.
    const V clamped = L::min(highest, L::max(lowest, x));
    const V magic = L::fma(clamped, L::set(1.44269504f), shift);
    const V n = L::sub(magic, shift);
    V r = L::fma(n, L::set(-0.693145752f), clamped);
    r = L::fma(n, L::set(-1.42860677e-6f), r);
    // Taylor to the seventh power: |r| <= 0.347, so the next term is below 6e-9.
    V p = L::set(1.98412698e-4f);
    p = L::fma(p, r, L::set(1.38888889e-3f));
    p = L::fma(p, r, L::set(8.33333333e-3f));
    p = L::fma(p, r, L::set(4.16666667e-2f));
    p = L::fma(p, r, L::set(1.66666667e-1f));
    p = L::fma(p, r, L::set(0.5f));
    p = L::fma(p, r, L::set(1.0f));
    p = L::fma(p, r, L::set(1.0f));
    const V finite = L::select_less(x, lowest, L::set(0.0f), L::add_exponent(p, magic));
    return L::select_less(highest, x, L::set(__builtin_inff()), finite);
  }
  /// x / (1 + e^-a): x times the logistic function of a.
  static NBL_INLINE V times_logistic(V x, V a) {
    const V e = exp(L::sub(L::set(0.0f), a));
    return L::div(x, L::add(L::set(1.0f), e));
  }
  static NBL_INLINE V tanh(V a) {
    // 1 - 2 / (1 + e^2a): absolute error near one unit in the last place of 1, which is what a cap on scores needs.
    const V e = exp(L::add(a, a));
    return L::sub(L::set(1.0f), L::div(L::set(2.0f), L::add(L::set(1.0f), e)));
  }
};

}  // namespace
}  // namespace nbl::kernels
