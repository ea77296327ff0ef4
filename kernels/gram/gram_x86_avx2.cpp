#include <immintrin.h>

#include "kernels/gram/gram.h"

namespace nbl::kernels {
namespace {

#include "kernels/gram/gram_generic.inl"

struct V {
  using reg = __m256;
  static constexpr int kLanes = 8;
  static reg zero() { return _mm256_setzero_ps(); }
  static reg load(const float* p) { return _mm256_load_ps(p); }
  static void store(float* p, reg x) { _mm256_store_ps(p, x); }
  static reg broadcast(const float* p) { return _mm256_broadcast_ss(p); }
  static reg add(reg a, reg b) { return _mm256_add_ps(a, b); }
  static reg fmadd(reg a, reg b, reg c) { return _mm256_fmadd_ps(a, b, c); }
};

}  // namespace

void gram_f32_4x24__avx2(const GramArgs* args) { gram_body<V, 4, 3>(args); }

}  // namespace nbl::kernels
