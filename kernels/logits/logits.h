// logits: what measurements need of a row of logits: its maximum, the sum of its exponentials, and the two sums of
// which the divergence between two rows is made. With S = sum exp(x - max):
//   log-sum-exp = max + log S,   KL(a || b) = cross / S_a - (lse_a - lse_b)
//
// Contract: rows of n >= 1 floats of any alignment; nothing outside them is read. Exponentials are float32 (relative
// error below 2^-22), sums are double over float partial sums of at most 8 terms; the order of the sums depends on n
// alone. A logit more than 87 below the maximum counts as exp(-87) in S and as nothing in cross, so -infinity is
// allowed. NaN gives NaN. Equal rows give cross = 0 and equal sums, to the bit.
#pragma once

#include <cstdint>

namespace nbl::kernels {

struct LogitSums {
  double sum_a = 0, sum_b = 0;  ///< S of each row
  double cross = 0;             ///< sum exp(a_i - max_a) * (a_i - b_i)
};

struct LogitKernels {
  const char* name;
  int isa;  ///< the value of nbl::Isa that it needs
  /// The largest value; *index is the first place that holds it (n when there is none: every value is NaN).
  float (*max)(const float* x, int64_t n, int64_t* index);
  /// sum exp(x_i - max).
  double (*sum_exp)(const float* x, int64_t n, float max);
  void (*sums)(const float* a, const float* b, int64_t n, float max_a, float max_b, LogitSums* out);
};

/// All that were compiled in, best first; the scalar one is last and runs everywhere.
const LogitKernels* logit_kernels(int* count);
/// The first whose needs `usable(isa)` grants.
const LogitKernels* logit_select(bool (*usable)(int isa));

}  // namespace nbl::kernels
