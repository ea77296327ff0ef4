#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/random.h"
#include "model/model.h"

namespace nbl::model {

struct Sampler::Impl {
  explicit Impl(const SamplingOptions& o) : options(o), random(o.seed) {}
  SamplingOptions options;
  Random random;
  std::vector<int32_t> order;  ///< candidates, most likely first once sorted
  std::vector<double> weight;  ///< e^((logit - largest) / temperature) of each candidate
};

Sampler::Sampler(const SamplingOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Sampler::~Sampler() = default;

Result<text::TokenId> Sampler::sample(std::span<const float> logits) {
  const SamplingOptions& o = impl_->options;
  if (!(o.temperature >= 0) || !std::isfinite(o.temperature))
    return Status(Code::invalid_argument, fmt::format("temperature {} is not a number from 0 up", o.temperature));
  if (o.top_k < 0) return Status(Code::invalid_argument, fmt::format("top_k {} is negative", o.top_k));
  if (!(o.top_p > 0 && o.top_p <= 1))
    return Status(Code::invalid_argument, fmt::format("top_p {} is not above 0 and at most 1", o.top_p));

  std::size_t best = logits.size();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (std::isfinite(logits[i]) && (best == logits.size() || logits[i] > logits[best])) best = i;
  if (best == logits.size()) return Status(Code::invalid_argument, "none of the logits is a finite number");
  if (o.temperature == 0 || o.top_k == 1) return static_cast<text::TokenId>(best);

  // NaN and -infinity take no part. The order (logit, then lower id) is total, so the candidates do not depend on the
  // sort.
  std::vector<int32_t>& order = impl_->order;
  order.clear();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (std::isfinite(logits[i])) order.push_back(static_cast<int32_t>(i));
  const auto before = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  std::size_t kept = order.size();
  if (o.top_k > 0 && static_cast<std::size_t>(o.top_k) < kept) {
    kept = static_cast<std::size_t>(o.top_k);
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept - 1), order.end(), before);
    order.resize(kept);
  }
  if (o.top_p < 1) std::sort(order.begin(), order.end(), before);

  std::vector<double>& weight = impl_->weight;
  weight.resize(kept);
  const double top = logits[best];
  double total = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    weight[i] = std::exp((static_cast<double>(logits[static_cast<std::size_t>(order[i])]) - top) /
                         static_cast<double>(o.temperature));
    total += weight[i];
  }
  if (o.top_p < 1) {
    // The smallest set whose share reaches top_p: the token that crosses it stays.
    const double share = static_cast<double>(o.top_p) * total;
    double sum = 0;
    std::size_t n = 0;
    while (n < kept && sum < share) sum += weight[n++];
    kept = n;
    total = sum;
  }
  double left = impl_->random.uniform_double() * total;
  for (std::size_t i = 0; i < kept; ++i) {
    left -= weight[i];
    if (left < 0) return order[i];
  }
  return order[kept - 1];  // the sum's own rounding
}

}  // namespace nbl::model
