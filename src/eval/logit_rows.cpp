#include "eval/logit_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/cpu.h"
#include "kernels/logits/logits.h"

namespace nbl::eval {
namespace {

const kernels::LogitKernels& variant() {
  static const kernels::LogitKernels* chosen =
      kernels::logit_select([](int isa) { return isa_usable(static_cast<Isa>(isa)); });
  return *chosen;
}

Status not_finite() {
  return Status(Code::corrupt, "the model's logits are not finite: its weights or its arithmetic are broken");
}

}  // namespace

Status score_rows(std::span<const float> logits, int64_t vocab, std::span<const text::TokenId> targets, Team& team,
                  std::span<RowScore> out) {
  const int64_t rows = static_cast<int64_t>(targets.size());
  if (static_cast<int64_t>(logits.size()) < rows * vocab || static_cast<int64_t>(out.size()) < rows) {
    return Status(Code::internal, "fewer logits than targets");
  }
  const kernels::LogitKernels& k = variant();
  std::atomic<bool> finite = true;
  team.parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* x = logits.data() + r * vocab;
      RowScore& score = out[static_cast<std::size_t>(r)];
      const float max = k.max(x, vocab, &score.top);
      const double lse = static_cast<double>(max) + std::log(k.sum_exp(x, vocab, max));
      score.logprob = static_cast<double>(x[targets[static_cast<std::size_t>(r)]]) - lse;
      if (!std::isfinite(lse)) finite.store(false, std::memory_order_relaxed);
    }
  });
  return finite ? Status() : not_finite();
}

Status compare_rows(std::span<const float> a, std::span<const float> b, int64_t vocab,
                    std::span<const text::TokenId> targets, Team& team, std::span<RowDivergence> out) {
  const int64_t rows = static_cast<int64_t>(targets.size());
  if (static_cast<int64_t>(std::min(a.size(), b.size())) < rows * vocab || static_cast<int64_t>(out.size()) < rows) {
    return Status(Code::internal, "fewer logits than targets");
  }
  const kernels::LogitKernels& k = variant();
  std::atomic<bool> finite = true;
  team.parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float *x = a.data() + r * vocab, *y = b.data() + r * vocab;
      const std::size_t target = static_cast<std::size_t>(targets[static_cast<std::size_t>(r)]);
      int64_t top_a = 0, top_b = 0;
      const float max_a = k.max(x, vocab, &top_a), max_b = k.max(y, vocab, &top_b);
      kernels::LogitSums sums;
      k.sums(x, y, vocab, max_a, max_b, &sums);
      const double lse_a = static_cast<double>(max_a) + std::log(sums.sum_a);
      const double lse_b = static_cast<double>(max_b) + std::log(sums.sum_b);
      RowDivergence& d = out[static_cast<std::size_t>(r)];
      d.kl = std::max(0.0, sums.cross / sums.sum_a - (lse_a - lse_b));
      d.logprob_a = static_cast<double>(x[target]) - lse_a;
      d.logprob_b = static_cast<double>(y[target]) - lse_b;
      d.same_top = top_a == top_b;
      if (!std::isfinite(lse_a) || !std::isfinite(lse_b)) finite.store(false, std::memory_order_relaxed);
    }
  });
  return finite ? Status() : not_finite();
}

}  // namespace nbl::eval
