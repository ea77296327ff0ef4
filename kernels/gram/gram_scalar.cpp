#include "kernels/gram/gram.h"

namespace nbl::kernels {

// The reference: plain loops. Multiplications are not fused here.
void gram_f32__scalar(const GramArgs* args) {
  for (int64_t t = 0; t < args->steps; ++t) {
    const float* a = args->a + t * kGramPanel;
    const float* b = args->b + t * kGramPanel;
    for (int i = 0; i < kGramPanel; ++i) {
      float* c = args->c + i * kGramPanel;
      const float x = a[i];
      for (int j = 0; j < kGramPanel; ++j) c[j] += x * b[j];
    }
  }
}

}  // namespace nbl::kernels
