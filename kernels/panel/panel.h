// Panels: 32 rows of a weight stored column by column, [columns][32]. The products and searches that Hessian-driven
// quantization is made of work on all rows of a panel at once, so that rows never wait for each other.
//
// All pointers to panels and outputs are 64-byte aligned. Every variant does the same operations in the same order, fused where
// it says so: all give the same bytes.
#pragma once

#include <cstdint>

namespace nbl::kernels {

inline constexpr int64_t kPanelRows = 32;
inline constexpr int64_t kPanelRows64 = 16;
inline constexpr int kFeedbackColumns = 8;

/// out[c][r] = sum over i in [begin, end), ascending, of a[c * lda + i] * panel[i][r], each step fused, starting from 0;
/// c < columns <= 8, r < 32.
struct FeedbackArgs {
  const float* a;
  int64_t lda;
  int columns;
  const float* panel;
  int64_t begin, end;
  float* out;  ///< [columns][32]
};

/// The same in double precision for factorizations, on panels of 16 rows.
struct Feedback64Args {
  const double* a;
  int64_t lda;
  int columns;
  const double* panel;  ///< [...][16]
  int64_t begin, end;
  double* out;  ///< [columns][16]
};

/// For each row r: the sum over columns c, ascending, of importance[c] * e^2, e the error of panel[c][r] on the row's grid:
/// q = round(min(max(w * inverse + zero, 0), max_code)), ties to even; e = w - scale * (q - zero). Nothing fused.
struct GridErrorArgs {
  const float* panel;
  int64_t columns;
  const float* importance;  ///< [columns], or null for 1
  const float* scale;       ///< [32]
  const float* inverse;     ///< [32], 1 / scale
  const float* zero;        ///< [32]
  float max_code;
  float* out;  ///< [32]
};

struct PanelKernels {
  const char* name;
  int isa;  ///< the value of nbl::Isa that it needs
  void (*feedback)(const FeedbackArgs& args);
  void (*feedback64)(const Feedback64Args& args);
  void (*grid_error)(const GridErrorArgs& args);
};

/// All that were compiled in, best first; the scalar one is last and runs everywhere.
const PanelKernels* panel_variants(int* count);
/// The best that runs on `isa` (a value of nbl::Isa).
const PanelKernels& select_panel(int isa);

}  // namespace nbl::kernels
