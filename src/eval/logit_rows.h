// Numbers from rows of logits, in parallel over the rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "text/tokenizer.h"

namespace nbl::eval {

struct RowScore {
  double logprob = 0;  ///< of the target
  int64_t top = 0;     ///< the likeliest token, the lowest id of equals
};
/// logits [targets.size(), vocab]. An error when a row is not finite.
Status score_rows(std::span<const float> logits, int64_t vocab, std::span<const text::TokenId> targets, Team& team,
                  std::span<RowScore> out);

struct RowDivergence {
  double kl = 0;  ///< KL(a || b), nats, never below 0; rounding leaves an absolute error below 1e-6
  double reverse_kl = 0;  ///< KL(b || a)
  double js = 0;          ///< Jensen-Shannon divergence, nats, at most log 2
  double logprob_a = 0, logprob_b = 0;
  bool same_top = false;
  int32_t common_top5 = 0;          ///< tokens among the five likeliest of both
  double squared_difference = 0;    ///< sum over the vocabulary of (a - b)^2, each less its mean
  double squared_reference = 0;     ///< of a less its mean
};
/// a, b [targets.size(), vocab]. Equal rows give exactly 0.
Status compare_rows(std::span<const float> a, std::span<const float> b, int64_t vocab,
                    std::span<const text::TokenId> targets, Team& team, std::span<RowDivergence> out);

}  // namespace nbl::eval
