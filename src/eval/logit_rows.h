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
  double logprob_a = 0, logprob_b = 0;
  bool same_top = false;
};
/// a, b [targets.size(), vocab]. Equal rows give exactly 0.
Status compare_rows(std::span<const float> a, std::span<const float> b, int64_t vocab,
                    std::span<const text::TokenId> targets, Team& team, std::span<RowDivergence> out);

}  // namespace nbl::eval
