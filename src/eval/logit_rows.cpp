#include "eval/logit_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>

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

/// The five largest, ties to the lower index.
struct TopFive {
  std::array<int64_t, 5> index{};
  std::array<float, 5> value{};

  explicit TopFive(std::span<const float> x) {
    value.fill(-std::numeric_limits<float>::infinity());
    index.fill(-1);
    for (std::size_t v = 0; v < x.size(); ++v) {
      if (!(x[v] > value[4])) continue;
      std::size_t at = 4;
      for (; at > 0 && x[v] > value[at - 1]; --at) {
        value[at] = value[at - 1];
        index[at] = index[at - 1];
      }
      value[at] = x[v];
      index[at] = static_cast<int64_t>(v);
    }
  }
};

/// What needs both probabilities of every token.
void diverge(std::span<const float> x, std::span<const float> y, double lse_a, double lse_b, RowDivergence& d) {
  // Tokens that both models hold for impossible add less than 1e-9 all together.
  constexpr double kImpossible = -35;
  double reverse = 0, js = 0, mean_a = 0, mean_b = 0;
  for (std::size_t v = 0; v < x.size(); ++v) {
    mean_a += static_cast<double>(x[v]);
    mean_b += static_cast<double>(y[v]);
    const double log_p = static_cast<double>(x[v]) - lse_a, log_q = static_cast<double>(y[v]) - lse_b;
    if (log_p == log_q || (log_p < kImpossible && log_q < kImpossible)) continue;
    const double p = std::exp(log_p), q = std::exp(log_q), log_m = std::log(0.5 * (p + q));
    reverse += q * (log_q - log_p);
    js += 0.5 * (p * (log_p - log_m) + q * (log_q - log_m));
  }
  mean_a /= static_cast<double>(x.size());
  mean_b /= static_cast<double>(x.size());
  for (std::size_t v = 0; v < x.size(); ++v) {
    const double a = static_cast<double>(x[v]) - mean_a, b = static_cast<double>(y[v]) - mean_b;
    d.squared_difference += (a - b) * (a - b);
    d.squared_reference += a * a;
  }
  d.reverse_kl = std::max(0.0, reverse);
  d.js = std::max(0.0, js);
  const TopFive a(x), b(y);
  for (const int64_t i : a.index) d.common_top5 += i >= 0 && std::find(b.index.begin(), b.index.end(), i) != b.index.end();
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
      d = {};
      diverge({x, static_cast<std::size_t>(vocab)}, {y, static_cast<std::size_t>(vocab)}, lse_a, lse_b, d);
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
