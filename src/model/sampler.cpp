#include "model/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>

namespace nbl::model {
namespace {

using text::TokenId;

/// The finalizer of splitmix64 (Steele, Lea and Flood, 2014).
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}
constexpr uint64_t kGolden = 0x9E3779B97F4A7C15u;

/// Output `index` of the splitmix64 generator that starts at `key`.
uint64_t at(uint64_t key, uint64_t index) { return mix(key + (index + 1) * kGolden); }

/// Candidates, likeliest first, until `enough` says that the sorted part suffices. Only as much is sorted as is needed.
template <class Before, class Enough>
void sort_until(std::vector<int32_t>& order, Before before, Enough enough) {
  std::size_t sorted = 0, chunk = 64;
  while (sorted < order.size()) {
    const std::size_t end = std::min(order.size(), sorted + chunk);
    const auto first = order.begin() + static_cast<std::ptrdiff_t>(sorted);
    if (end < order.size()) std::nth_element(first, order.begin() + static_cast<std::ptrdiff_t>(end), order.end(), before);
    std::sort(first, order.begin() + static_cast<std::ptrdiff_t>(end), before);
    for (std::size_t i = sorted; i < end; ++i) {
      if (enough(i)) {
        order.resize(i + 1);
        return;
      }
    }
    sorted = end;
    chunk *= 4;
  }
}

}  // namespace

struct Sampler::Impl {
  SamplingOptions options;
  const text::Tokenizer* tokenizer = nullptr;
  uint64_t key = 0;
  int64_t prompt = 0;              ///< tokens of history that are not output
  std::vector<TokenId> history;    ///< prompt, then output
  std::unordered_map<TokenId, bool> breaks;
  std::vector<float> logits;       ///< after bias, bans, penalties and mask
  std::vector<int32_t> order;      ///< candidates
  std::vector<double> weight;      ///< by token id: e^((logit - largest) / temperature)
  std::vector<int32_t> match;      ///< for dry
  std::vector<std::pair<double, int32_t>> distance;

  bool changes_logits() const {
    const SamplingOptions& o = options;
    return !o.logit_bias.empty() || !o.banned.empty() || o.repetition_penalty != 1 || o.frequency_penalty != 0 ||
           o.presence_penalty != 0 || o.dry.multiplier != 0;
  }
  bool filters() const {
    const SamplingOptions& o = options;
    return o.temperature > 0 && (o.top_k > 0 || o.top_p < 1 || o.min_p > 0 || o.typical < 1);
  }
  float* logit(TokenId id) {
    return id >= 0 && static_cast<std::size_t>(id) < logits.size() ? &logits[static_cast<std::size_t>(id)] : nullptr;
  }
  void bias_and_ban() {
    for (const auto& [id, bias] : options.logit_bias)
      if (float* l = logit(id)) *l += bias;
    for (const TokenId id : options.banned)
      if (float* l = logit(id)) *l = -INFINITY;
  }
  void penalize() {
    const SamplingOptions& o = options;
    if (o.repetition_penalty != 1) {
      const std::size_t window = o.repetition_window > 0 ? static_cast<std::size_t>(o.repetition_window) : history.size();
      std::vector<TokenId> seen(history.end() - static_cast<std::ptrdiff_t>(std::min(window, history.size())),
                                history.end());
      std::sort(seen.begin(), seen.end());
      seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
      for (const TokenId id : seen)
        if (float* l = logit(id)) *l = *l > 0 ? *l / o.repetition_penalty : *l * o.repetition_penalty;
    }
    if (o.frequency_penalty != 0 || o.presence_penalty != 0) {
      std::map<TokenId, int64_t> count;
      for (std::size_t i = static_cast<std::size_t>(prompt); i < history.size(); ++i) ++count[history[i]];
      for (const auto& [id, n] : count)
        if (float* l = logit(id)) *l -= o.frequency_penalty * static_cast<float>(n) + o.presence_penalty;
    }
    if (o.dry.multiplier != 0) dry();
  }
  bool is_breaker(TokenId id) {
    if (tokenizer == nullptr) return false;
    const auto [it, fresh] = breaks.try_emplace(id, false);
    if (fresh) {
      const auto text = tokenizer->decode({&id, 1}, false);
      for (const std::string& breaker : options.dry.breakers)
        it->second = it->second || (text.ok() && !breaker.empty() && text->find(breaker) != std::string::npos);
    }
    return it->second;
  }
  /// The Z function of the reversed text gives, for every earlier place, how many tokens before it equal those at the end.
  void dry() {
    const std::size_t window = options.dry.window > 0 ? static_cast<std::size_t>(options.dry.window) : history.size();
    const std::size_t n = std::min(window, history.size());
    if (n < 2) return;
    const TokenId* end = history.data() + history.size() - 1;  // reversed text: r[i] = end[-i]
    std::size_t longest = 0;                                   // no repetition reaches over a breaker
    while (longest < n && !is_breaker(*(end - longest))) ++longest;
    if (longest == 0) return;
    match.assign(n, 0);
    std::size_t left = 0, right = 0;
    std::map<TokenId, std::size_t> by_token;
    for (std::size_t i = 1; i < n; ++i) {
      std::size_t z = i < right ? std::min(right - i, static_cast<std::size_t>(match[i - left])) : 0;
      while (i + z < n && *(end - z) == *(end - i - z)) ++z;
      match[i] = static_cast<int32_t>(z);
      if (i + z > right) {
        left = i;
        right = i + z;
      }
      const std::size_t length = std::min(z, longest);
      const TokenId next = *(end - i + 1);
      if (length > 0 && !is_breaker(next)) by_token[next] = std::max(by_token[next], length);
    }
    for (const auto& [id, length] : by_token) {
      const int64_t excess = static_cast<int64_t>(length) - options.dry.allowed_length;
      float* l = logit(id);
      if (excess < 0 || l == nullptr) continue;
      double penalty = options.dry.multiplier;
      for (int64_t i = 0; i < excess && penalty < 1e30; ++i) penalty *= options.dry.base;
      *l -= static_cast<float>(std::min(penalty, 1e30));
    }
  }

  /// Leaves in `order` what the filters keep. `top`: the largest logit.
  void filter(std::span<const float> from) {
    const SamplingOptions& o = options;
    const auto before = [&](int32_t a, int32_t b) {
      const float x = from[static_cast<std::size_t>(a)], y = from[static_cast<std::size_t>(b)];
      return x != y ? x > y : a < b;
    };
    const auto w = [&](int32_t id) { return weight[static_cast<std::size_t>(id)]; };
    const auto total = [&] {
      double sum = 0;
      for (const int32_t id : order) sum += w(id);
      return sum;
    };
    bool sorted = false;
    if (o.top_k > 0 && static_cast<std::size_t>(o.top_k) < order.size()) {
      const auto kept = static_cast<std::ptrdiff_t>(o.top_k);
      std::nth_element(order.begin(), order.begin() + (kept - 1), order.end(), before);
      order.resize(static_cast<std::size_t>(kept));
    }
    if (o.top_p < 1) {
      // The smallest set whose share reaches top_p: the token that crosses it stays.
      if (o.top_k > 0) std::sort(order.begin(), order.end(), before);  // sums in an order that does not depend on the sort
      const double share = static_cast<double>(o.top_p) * total();
      double sum = 0;
      sort_until(order, before, [&](std::size_t i) { return (sum += w(order[i])) >= share; });
      sorted = true;
    }
    if (o.min_p > 0) {
      double most = 0;
      for (const int32_t id : order) most = std::max(most, w(id));
      std::erase_if(order, [&](int32_t id) { return w(id) < static_cast<double>(o.min_p) * most; });
    }
    if (o.typical < 1) {
      if (!sorted) std::sort(order.begin(), order.end());
      const double sum = total();
      double entropy = 0;
      distance.clear();
      for (const int32_t id : order) {
        const double p = w(id) / sum;
        const double surprise = p > 0 ? portable_minus_log(std::min(p, 1.0)) : 745.0;
        entropy += p * surprise;
        distance.emplace_back(surprise, id);
      }
      for (auto& [d, id] : distance) d = std::abs(d - entropy);
      std::sort(distance.begin(), distance.end());
      order.clear();
      double mass = 0;
      for (const auto& [d, id] : distance) {
        order.push_back(id);
        if ((mass += w(id)) >= static_cast<double>(o.typical) * sum) break;
      }
    }
  }
};

Sampler::Sampler(const SamplingOptions& options, uint64_t stream, const text::Tokenizer* tokenizer)
    : impl_(std::make_unique<Impl>()) {
  impl_->tokenizer = tokenizer;
  set_options(options, stream);
}
Sampler::~Sampler() = default;
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;

Sampler Sampler::clone() const {
  Sampler copy(impl_->options, 0, impl_->tokenizer);
  *copy.impl_ = *impl_;
  return copy;
}

void Sampler::set_options(const SamplingOptions& options, uint64_t stream) {
  impl_->options = options;
  impl_->key = mix(at(options.seed, stream));
  impl_->breaks.clear();
}

Status Sampler::check(const SamplingOptions& o) {
  const auto refuse = [](std::string message) { return Status(Code::invalid_argument, std::move(message)); };
  if (!(o.temperature >= 0) || !std::isfinite(o.temperature))
    return refuse(fmt::format("temperature {} is not a number from 0 up", o.temperature));
  if (o.top_k < 0) return refuse(fmt::format("top_k {} is negative", o.top_k));
  if (!(o.top_p > 0 && o.top_p <= 1)) return refuse(fmt::format("top_p {} is not above 0 and at most 1", o.top_p));
  if (!(o.min_p >= 0 && o.min_p <= 1)) return refuse(fmt::format("min_p {} is not from 0 to 1", o.min_p));
  if (!(o.typical > 0 && o.typical <= 1))
    return refuse(fmt::format("typical {} is not above 0 and at most 1", o.typical));
  if (!(o.repetition_penalty > 0) || !std::isfinite(o.repetition_penalty))
    return refuse(fmt::format("repetition_penalty {} is not above 0", o.repetition_penalty));
  if (!std::isfinite(o.frequency_penalty) || !std::isfinite(o.presence_penalty))
    return refuse("frequency_penalty and presence_penalty must be finite numbers");
  if (!(o.dry.multiplier >= 0) || !(o.dry.base >= 1) || !std::isfinite(o.dry.multiplier) || !std::isfinite(o.dry.base))
    return refuse(fmt::format("dry_multiplier {} is not from 0 up, or dry_base {} not from 1 up", o.dry.multiplier,
                              o.dry.base));
  for (const auto& [id, bias] : o.logit_bias)
    if (std::isnan(bias) || bias == INFINITY)
      return refuse(fmt::format("the logit bias of token {} is {}", id, bias));
  return {};
}

void Sampler::set_prompt(std::span<const TokenId> tokens) {
  impl_->history.assign(tokens.begin(), tokens.end());
  impl_->prompt = static_cast<int64_t>(tokens.size());
}

void Sampler::accept(TokenId token) { impl_->history.push_back(token); }

void Sampler::rewind(int64_t count) {
  const auto output = static_cast<int64_t>(impl_->history.size()) - impl_->prompt;
  impl_->history.resize(impl_->history.size() - static_cast<std::size_t>(std::min(count, output)));
}

bool Sampler::mask_may_follow() const { return !impl_->filters(); }

Result<TokenId> Sampler::sample(std::span<const float> logits) {
  NBL_TRY(check(impl_->options));
  NBL_ASSIGN(const TokenId token, choose(logits));
  accept(token);
  return token;
}

Result<TokenId> Sampler::choose(std::span<const float> given, TokenMask allowed) {
  Impl& s = *impl_;
  const SamplingOptions& o = s.options;
  std::span<const float> logits = given;
  if (s.changes_logits() || !allowed.empty()) {
    s.logits.assign(given.begin(), given.end());
    s.bias_and_ban();
    s.penalize();
    if (!allowed.empty()) {
      for (std::size_t i = 0; i < s.logits.size(); ++i) {
        const uint64_t word = i / 64 < allowed.size() ? allowed[i / 64] : 0;
        if ((word >> (i % 64) & 1) == 0) s.logits[i] = -INFINITY;
      }
    }
    logits = s.logits;
  }

  std::size_t best = logits.size();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (std::isfinite(logits[i]) && (best == logits.size() || logits[i] > logits[best])) best = i;
  if (best == logits.size()) return Status(Code::invalid_argument, "none of the logits is a finite number");
  if (o.temperature == 0 || o.top_k == 1) return static_cast<TokenId>(best);

  // NaN and infinities take no part.
  s.order.clear();
  s.weight.resize(logits.size());
  const double top = logits[best], temperature = o.temperature;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!std::isfinite(logits[i])) continue;
    s.order.push_back(static_cast<int32_t>(i));
    s.weight[i] = portable_exp((static_cast<double>(logits[i]) - top) / temperature);
  }
  if (s.filters()) s.filter(logits);

  // A race: the candidate whose exponential time -log(u) / weight is the shortest. -log(u) >= 1 - u spares most
  // logarithms.
  const uint64_t key = mix(at(s.key, static_cast<uint64_t>(s.history.size()) - static_cast<uint64_t>(s.prompt)));
  const auto time_lower_bound = [&](int32_t id) {
    return static_cast<double>(at(key, static_cast<uint64_t>(id)) >> 11) * 0x1p-53;
  };
  double shortest = INFINITY;
  int32_t winner = static_cast<int32_t>(best);
  for (const int32_t id : s.order) {
    const double w = s.weight[static_cast<std::size_t>(id)], bound = time_lower_bound(id);
    if (!(w > 0) || bound >= shortest * w) continue;
    const double time = portable_minus_log(1 - bound) / w;
    if (time < shortest || (time == shortest && id < winner)) {
      shortest = time;
      winner = id;
    }
  }
  return winner;
}

PositionLogprobs position_logprobs(std::span<const float> logits, TokenId chosen, int64_t top) {
  PositionLogprobs out;
  const double sum = log_sum_exp(logits);
  const auto logprob = [&](TokenId id) {
    return static_cast<float>(static_cast<double>(logits[static_cast<std::size_t>(id)]) - sum);
  };
  if (chosen >= 0 && static_cast<std::size_t>(chosen) < logits.size()) out.chosen = {chosen, logprob(chosen)};
  if (top <= 0) return out;
  std::vector<TokenId> order;
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (!std::isnan(logits[i])) order.push_back(static_cast<TokenId>(i));
  const auto kept = static_cast<std::ptrdiff_t>(std::min(static_cast<std::size_t>(top), order.size()));
  std::partial_sort(order.begin(), order.begin() + kept, order.end(), [&](TokenId a, TokenId b) {
    const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  });
  for (std::ptrdiff_t i = 0; i < kept; ++i) out.top.push_back({order[static_cast<std::size_t>(i)], logprob(order[static_cast<std::size_t>(i)])});
  return out;
}

}  // namespace nbl::model
