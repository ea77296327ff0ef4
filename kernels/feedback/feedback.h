// Feedback: the one product that Hessian-driven quantization is made of. Rows of the weight are taken 32 at a time and stored
// column by column (a "panel": [columns][32 rows]); the factor or the Hessian is read row by row.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace nbl::kernels {

inline constexpr int64_t kPanelRows = 32;
inline constexpr int kFeedbackColumns = 8;

/// out[c][r] = sum over i in [begin, end), ascending, of fma(a[c * lda + i], panel[i][r]), starting from 0, for c < columns <= 8
/// and r < 32. `panel` and `out` are 64-byte aligned. Every variant adds in the same order with fused operations, so all give
/// the same bytes.
struct FeedbackArgs {
  const float* a;
  int64_t lda;
  int columns;
  const float* panel;
  int64_t begin, end;
  float* out;  ///< [columns][32]
};
using FeedbackFn = void (*)(const FeedbackArgs& args);

/// The best variant that runs on `isa`.
FeedbackFn select_feedback(Isa isa) noexcept;

namespace feedback {
#define NBL_FEEDBACK(function, isa) void function(const FeedbackArgs& args);
#include "kernels/feedback/variants.inc"
#undef NBL_FEEDBACK
}  // namespace feedback
}  // namespace nbl::kernels
