// Panels: 32 rows of a weight stored column by column, [columns][32]. The products and searches that Hessian-driven
// quantization is made of work on all rows of a panel at once, so that rows never wait for each other.
//
// All pointers to panels and outputs are 64-byte aligned. Every variant does the same operations in the same order, fused where
// it says so: all give the same bytes.
#pragma once

#include <cstdint>

#include "kernels/simd/trellis.h"

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

/// The path through the 64 steps of a column tile (kernels/simd/trellis.h) for each of 32 rows, and the codes on it, by Viterbi's
/// algorithm with every survivor's own feedback: the least found of  cost = sum over steps s of (weight[s] * (t - scale * table[code]))^2
/// with  t = wanted[s] + sum over earlier steps i of feed[i][s] * (truth[i] - scale * table[code of i]).
/// Without feedback (feed null) it is the least there is.
struct TrellisArgs {
  int bits;                ///< stored, 1 to 4
  const float* table;      ///< [2^(bits + 1)], ascending
  const uint8_t* present;  ///< [64]: 0 where there is no column, whose path bit and code are 0; null: all are
  const float* wanted;     ///< [64][32]
  const float* truth;      ///< [64][32]; not read without feed
  const float* feed;       ///< [64][64], or null
  const float* weight;     ///< [64], or null for 1
  const float* scale;      ///< [32]
  const float* inverse;    ///< [32]: 1 / scale, 0 where scale is 0
  float* scratch;          ///< kTrellisScratch floats
  uint8_t* codes;          ///< [64][32], or null
  float* cost;             ///< [32]
};
inline constexpr int64_t kTrellisScratch = 2 * kTrellisStates * kTrellisSteps * 16;

struct PanelKernels {
  const char* name;
  int isa;  ///< the value of nbl::Isa that it needs
  void (*feedback)(const FeedbackArgs& args);
  void (*feedback64)(const Feedback64Args& args);
  void (*grid_error)(const GridErrorArgs& args);
  void (*trellis)(const TrellisArgs& args);
};

/// All that were compiled in, best first; the scalar one is last and runs everywhere.
const PanelKernels* panel_variants(int* count);
/// The best that runs on `isa` (a value of nbl::Isa).
const PanelKernels& select_panel(int isa);

}  // namespace nbl::kernels
