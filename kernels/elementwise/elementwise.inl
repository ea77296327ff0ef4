// The bodies of elementwise.h, over lanes of any instruction set.
#pragma once

#include "kernels/elementwise/elementwise.h"
#include "kernels/elementwise/lanes.inl"

namespace nbl::kernels {
namespace {

template <class L>
struct Elementwise {
  using V = typename L::V;
  using X = Vec<L>;

  /// f(vector) -> vector over n elements of one array into another.
  template <class F>
  static NBL_INLINE void transform(const float* x, float* y, int64_t n, F f) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) L::store(y + i, f(L::load(x + i)));
    if (i < n) X::store_part(y + i, f(X::load_part(x + i, n - i)), n - i);
  }
  template <class F>
  static NBL_INLINE void transform2(const float* a, const float* b, float* y, int64_t n, F f) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) L::store(y + i, f(L::load(a + i), L::load(b + i)));
    if (i < n) X::store_part(y + i, f(X::load_part(a + i, n - i), X::load_part(b + i, n - i)), n - i);
  }
  /// Sum of f(x): lane i takes elements i, i + 16, ...; then the lanes are folded in halves.
  template <class F>
  static NBL_INLINE float reduce(const float* x, int64_t n, F f) {
    V acc = L::set(0.0f);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) acc = f(acc, L::load(x + i));
    if (i < n) {
      // Lanes that hold no element keep their sum: f may turn the zeros of a short load into something.
      float t[16], before[16];
      L::store(before, acc);
      L::store(t, f(acc, X::load_part(x + i, n - i)));
      for (int64_t j = n - i; j < 16; ++j) t[j] = before[j];
      acc = L::load(t);
    }
    return X::sum(acc);
  }

  static void rms_norm(const float* x, const float* w, int64_t n, float eps, float* y) {
    const float squares = reduce(x, n, [](V acc, V v) { return L::fma(v, v, acc); });
    const V inv = L::set(1.0f / std::sqrt(squares / static_cast<float>(n) + eps));
    transform2(x, w, y, n, [&](V v, V g) { return L::mul(g, L::mul(v, inv)); });
  }

  static void layer_norm(const float* x, const float* w, const float* b, int64_t n, float eps, float* y) {
    const float count = static_cast<float>(n);
    const V mean = L::set(reduce(x, n, [](V acc, V v) { return L::add(acc, v); }) / count);
    const float squares = reduce(x, n, [&](V acc, V v) {
      const V d = L::sub(v, mean);
      return L::fma(d, d, acc);
    });
    const V inv = L::set(1.0f / std::sqrt(squares / count + eps));
    if (b == nullptr) {
      transform2(x, w, y, n, [&](V v, V g) { return L::mul(L::mul(L::sub(v, mean), inv), g); });
      return;
    }
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
      const V d = L::mul(L::sub(L::load(x + i), mean), inv);
      L::store(y + i, L::fma(d, L::load(w + i), L::load(b + i)));
    }
    if (i < n) {
      const V d = L::mul(L::sub(X::load_part(x + i, n - i), mean), inv);
      X::store_part(y + i, L::fma(d, X::load_part(w + i, n - i), X::load_part(b + i, n - i)), n - i);
    }
  }

  static void add(float* x, const float* y, int64_t n) {
    transform2(x, y, x, n, [](V a, V b) { return L::add(a, b); });
  }
  static void scale(float* x, float s, int64_t n) {
    const V factor = L::set(s);
    transform(x, x, n, [&](V a) { return L::mul(a, factor); });
  }

  template <class F>
  static NBL_INLINE void gated(const float* gate, const float* up, float* out, int64_t n, F act) {
    if (up == nullptr)
      transform(gate, out, n, act);
    else
      transform2(gate, up, out, n, [&](V g, V u) { return L::mul(act(g), u); });
  }
  static NBL_INLINE V gelu_erf_lanes(V g) {
    float t[16];
    L::store(t, g);
    for (float& v : t) v = 0.5f * v * (1.0f + erff(v * 0.70710678f));
    return L::load(t);
  }
  static NBL_INLINE V within(V x, float low, float high) {
    const V none = L::set(0.0f);
    return L::sub(none, L::max(L::sub(none, L::max(x, L::set(low))), L::set(-high)));
  }
  static void activate(Act act, const float* gate, const float* up, float* out, int64_t n) {
    switch (act) {
      case Act::silu:
        gated(gate, up, out, n, [](V g) { return X::times_logistic(g, g); });
        break;
      case Act::gelu_tanh:
        // 0.5 x (1 + tanh(u)) is x times the logistic function of 2u.
        gated(gate, up, out, n, [](V g) {
          const V cubic = L::fma(L::mul(g, g), L::set(0.044715f), L::set(1.0f));
          return X::times_logistic(g, L::mul(L::mul(g, cubic), L::set(1.59576912f)));
        });
        break;
      case Act::gelu_erf:
        gated(gate, up, out, n, [](V g) { return gelu_erf_lanes(g); });
        break;
      case Act::relu:
        gated(gate, up, out, n, [](V g) { return L::max(g, L::set(0.0f)); });
        break;
      case Act::relu_squared:
        gated(gate, up, out, n, [](V g) {
          const V positive = L::max(g, L::set(0.0f));
          return L::mul(positive, positive);
        });
        break;
      case Act::quick_gelu:
        gated(gate, up, out, n, [](V g) { return X::times_logistic(g, L::mul(g, L::set(1.702f))); });
        break;
      case Act::sigmoid:
        gated(gate, up, out, n, [](V g) { return X::times_logistic(L::set(1.0f), g); });
        break;
      case Act::tanh:
        gated(gate, up, out, n, [](V g) { return X::tanh(g); });
        break;
      case Act::gelu_clipped:
        gated(gate, up, out, n, [](V g) { return within(gelu_erf_lanes(g), -10.0f, 10.0f); });
        break;
      case Act::mish:
        // With s = 1 / (1 + e^-x) and t = 1 - s, tanh(ln(1 + e^x)) is (1 - t^2) / (1 + t^2), and 1 - t^2 is s (1 + t).
        gated(gate, up, out, n, [](V g) {
          const V one = L::set(1.0f), t = X::times_logistic(one, L::sub(L::set(0.0f), g));
          return L::div(L::mul(X::times_logistic(g, g), L::add(one, t)), L::fma(t, t, one));
        });
        break;
      case Act::leaky_relu:
        gated(gate, up, out, n, [](V g) { return L::max(g, L::mul(g, L::set(0.01f))); });
        break;
      case Act::relu6:
        gated(gate, up, out, n, [](V g) { return within(g, 0.0f, 6.0f); });
        break;
      case Act::hard_swish:
        gated(gate, up, out, n, [](V g) {
          return L::div(L::mul(g, within(L::add(g, L::set(3.0f)), 0.0f, 6.0f)), L::set(6.0f));
        });
        break;
      case Act::linear:
        gated(gate, up, out, n, [](V g) { return g; });
        break;
    }
  }

  static NBL_INLINE void rotate(V& a, V& b, V c, V s) {
    const V na = L::sub(L::mul(a, c), L::mul(b, s));
    b = L::add(L::mul(b, c), L::mul(a, s));
    a = na;
  }
  static void rope_half(float* x, const float* cos, const float* sin, int64_t pairs) {
    float* lo = x;
    float* hi = x + pairs;
    int64_t i = 0;
    for (; i + 16 <= pairs; i += 16) {
      V a = L::load(lo + i), b = L::load(hi + i);
      rotate(a, b, L::load(cos + i), L::load(sin + i));
      L::store(lo + i, a);
      L::store(hi + i, b);
    }
    if (i < pairs) {
      const int64_t rest = pairs - i;
      V a = X::load_part(lo + i, rest), b = X::load_part(hi + i, rest);
      rotate(a, b, X::load_part(cos + i, rest), X::load_part(sin + i, rest));
      X::store_part(lo + i, a, rest);
      X::store_part(hi + i, b, rest);
    }
  }
  static void rope_adjacent(float* x, const float* cos, const float* sin, int64_t pairs) {
    for (int64_t i = 0; i < pairs; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = a * cos[i] - b * sin[i];
      x[2 * i + 1] = b * cos[i] + a * sin[i];
    }
  }

  static void soft_cap(float* x, float cap, int64_t n) {
    const V c = L::set(cap);
    transform(x, x, n, [&](V v) { return L::mul(c, X::tanh(L::div(v, c))); });
  }

  static float exp_sum(float* x, int64_t n) {
    float top = x[0];
    for (int64_t i = 1; i < n; ++i) top = x[i] > top ? x[i] : top;
    const V largest = L::set(top);
    transform(x, x, n, [&](V v) { return X::exp(L::sub(v, largest)); });
    return reduce(x, n, [](V acc, V v) { return L::add(acc, v); });
  }

  static constexpr ElementwiseKernels table(const char* name, Isa isa) {
    return {name,      isa,        &rms_norm,      &layer_norm, &add,    &scale,
            &activate, &rope_half, &rope_adjacent, &soft_cap,   &exp_sum};
  }
};

}  // namespace
}  // namespace nbl::kernels
