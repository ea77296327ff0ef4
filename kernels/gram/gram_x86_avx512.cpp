#include <immintrin.h>

#include "kernels/gram/gram.h"

namespace nbl::kernels {
namespace {

#include "kernels/gram/gram_generic.inl"

struct V {
  using reg = __m512;
  static constexpr int kLanes = 16;
  static reg zero() { return _mm512_setzero_ps(); }
  static reg load(const float* p) { return _mm512_load_ps(p); }
  static void store(float* p, reg x) { _mm512_store_ps(p, x); }
  static reg broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static reg add(reg a, reg b) { return _mm512_add_ps(a, b); }
  static reg fmadd(reg a, reg b, reg c) { return _mm512_fmadd_ps(a, b, c); }
};

}  // namespace

void gram_f32_8x48__avx512(const GramArgs* args) { gram_body<V, 8, 3>(args); }

}  // namespace nbl::kernels
