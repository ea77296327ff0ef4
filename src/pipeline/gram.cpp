#include "pipeline/gram.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "base/cpu.h"
#include "kernels/gram/gram.h"

namespace nbl::pipeline {
namespace {

using kernels::kGramPanel;

constexpr int64_t kBlockTokens = Panels::kBlockTokens;
// Tokens summed in registers before they join the block's sum: two panels of it fill the first-level cache. Short sums
// first also keep the rounding error of long ones small.
constexpr int64_t kSteps = 128;
constexpr int64_t kBlockFloats = int64_t{kGramPanel} * kGramPanel;

const kernels::GramVariant& variant() {
  static const kernels::GramVariant* chosen =
      kernels::gram_select([](int isa) { return isa_usable(static_cast<Isa>(isa)); });
  return *chosen;
}
const kernels::GramBf16Variant* bf16_variant() {
  static const kernels::GramBf16Variant* chosen =
      kernels::gram_bf16_select([](int isa) { return isa_usable(static_cast<Isa>(isa)); });
  return chosen;
}

/// The block (i, j >= i) of the upper triangle lies at this index: rows of shrinking length follow each other.
int64_t block_index(int64_t i, int64_t j, int64_t panels) { return i * panels - i * (i - 1) / 2 + (j - i); }

Status no_memory(int64_t k) {
  return {Code::out_of_memory, fmt::format("no memory for the statistics of an input of {} columns", k)};
}

}  // namespace

Result<Panels> Panels::create(int64_t columns, bool bf16) {
  Panels p;
  p.columns_ = columns;
  p.count_ = ceil_div(columns, kGramPanel);
  p.bf16_ = bf16;
  const std::size_t element = bf16 ? sizeof(uint16_t) : sizeof(float);
  NBL_ASSIGN(p.packed_, Buffer::create(static_cast<std::size_t>(p.count_ * kBlockTokens * kGramPanel) * element));
  return p;
}

void Panels::pack(const float* x, int64_t ldx, const float* minus, int64_t ld_minus, const float* factor, int64_t m, Team& team) {
  rows_ = m;
  team.parallel_for(count_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kGramPanel, count = std::min<int64_t>(kGramPanel, columns_ - first);
      if (bf16_) {
        kernels::GramPackArgs args;
        args.x = x + first;
        args.minus = minus == nullptr ? nullptr : minus + first;
        args.ldx = ldx;
        args.ld_minus = ld_minus;
        args.factor = factor;
        args.tokens = m;
        args.columns = count;
        args.out = packed_.as<uint16_t>().data() + p * ((m + 1) / 2 * 2) * kGramPanel;
        bf16_variant()->pack(&args);
        continue;
      }
      float* out = packed_.as<float>().data() + p * m * kGramPanel;
      for (int64_t t = 0; t < m; ++t, out += kGramPanel) {
        std::memcpy(out, x + t * ldx + first, static_cast<std::size_t>(count) * sizeof(float));
        if (minus != nullptr)
          for (int64_t c = 0; c < count; ++c) out[c] -= minus[t * ld_minus + first + c];
        if (factor != nullptr)
          for (int64_t c = 0; c < count; ++c) out[c] *= factor[t];
        if (count < kGramPanel)
          std::memset(out + count, 0, static_cast<std::size_t>(kGramPanel - count) * sizeof(float));
      }
    }
  });
}

Result<BlockSum> BlockSum::create(int64_t left, int64_t right, bool symmetric) {
  BlockSum sum;
  sum.left_ = left;
  sum.right_ = right;
  sum.symmetric_ = symmetric;
  const int64_t rows = ceil_div(left, kGramPanel), columns = ceil_div(right, kGramPanel);
  try {
    sum.sums_.assign(static_cast<std::size_t>((symmetric ? rows * (rows + 1) / 2 : rows * columns) * kBlockFloats), 0.0f);
  } catch (const std::bad_alloc&) {
    return no_memory(std::max(left, right));
  }
  return sum;
}

void BlockSum::add(const Panels& left, const Panels& right, Team& team) {
  const int64_t rows = left.count_, columns = right.count_, m = left.rows_;
  const bool bf16 = left.bf16_;
  const int64_t panel = (bf16 ? (m + 1) / 2 * 2 : m) * kGramPanel;  // elements
  // A chunk of neighbouring blocks shares its left panel, which then stays in the second-level cache.
  team.parallel_for(symmetric_ ? rows * (rows + 1) / 2 : rows * columns, 4, [&](int64_t begin, int64_t end) {
    alignas(64) float sum[kBlockFloats];
    int64_t i = 0, j = 0;
    if (symmetric_) {
      while (block_index(i + 1, i + 1, columns) <= begin && i + 1 < columns) ++i;
      j = i + (begin - block_index(i, i, columns));
    } else {
      i = begin / columns;
      j = begin % columns;
    }
    for (int64_t b = begin; b < end; ++b) {
      std::memset(sum, 0, sizeof(sum));
      for (int64_t t = 0; t < m; t += kSteps) {
        const int64_t steps = std::min(kSteps, m - t);
        if (bf16) {
          kernels::GramBf16Args args;
          args.a = left.packed_.as<uint16_t>().data() + i * panel + t * kGramPanel;
          args.b = right.packed_.as<uint16_t>().data() + j * panel + t * kGramPanel;
          args.c = sum;
          args.pairs = (steps + 1) / 2;
          bf16_variant()->fn(&args);
        } else {
          kernels::GramArgs args;
          args.a = left.packed_.as<float>().data() + i * panel + t * kGramPanel;
          args.b = right.packed_.as<float>().data() + j * panel + t * kGramPanel;
          args.c = sum;
          args.steps = steps;
          variant().fn(&args);
        }
      }
      float* h = sums_.data() + b * kBlockFloats;
      for (int64_t e = 0; e < kBlockFloats; ++e) h[e] += sum[e];
      if (++j == columns) {
        ++i;
        j = symmetric_ ? i : 0;
      }
    }
  });
}

Status BlockSum::finish(Team& team, std::vector<float>* out) {
  try {
    out->resize(static_cast<std::size_t>(left_ * right_));
  } catch (const std::bad_alloc&) {
    return no_memory(std::max(left_, right_));
  }
  float* to = out->data();
  const int64_t rows = ceil_div(left_, kGramPanel), columns = ceil_div(right_, kGramPanel);
  team.parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t height = std::min<int64_t>(kGramPanel, left_ - i * kGramPanel);
      for (int64_t j = symmetric_ ? i : 0; j < columns; ++j) {
        const int64_t index = symmetric_ ? block_index(i, j, columns) : i * columns + j;
        const float* block = sums_.data() + index * kBlockFloats;
        const int64_t width = std::min<int64_t>(kGramPanel, right_ - j * kGramPanel);
        for (int64_t r = 0; r < height; ++r) {
          for (int64_t c = 0; c < width; ++c) {
            const float v = block[r * kGramPanel + c];
            to[(i * kGramPanel + r) * right_ + j * kGramPanel + c] = v;
            if (symmetric_) to[(j * kGramPanel + c) * right_ + i * kGramPanel + r] = v;
          }
        }
      }
    }
  });
  sums_ = {};
  return {};
}

Result<StatsAccumulator> StatsAccumulator::create(int64_t k, uint32_t needs, int64_t n, Compute compute) {
  StatsAccumulator a;
  a.needs_ = needs;
  a.k_ = k;
  a.n_ = n;
  const bool bf16 = compute == Compute::fast && bf16_variant() != nullptr;
  try {
    if (needs & quant::kNeedAbsMean) a.abs_sum_.assign(static_cast<std::size_t>(k), 0.0);
    if (needs & quant::kNeedSquare) a.square_sum_.assign(static_cast<std::size_t>(k), 0.0);
    if (needs & quant::kNeedEvenTokens) a.factor_.assign(static_cast<std::size_t>(kBlockTokens), 1.0f);
    if (needs & quant::kNeedAbsMax) a.abs_max_.assign(static_cast<std::size_t>(k), 0.0f);
  } catch (const std::bad_alloc&) {
    return no_memory(k);
  }
  if (needs & (quant::kNeedHessian | quant::kNeedCross | quant::kNeedResidual)) {
    NBL_ASSIGN(a.inputs_, Panels::create(k, bf16));
  }
  if (needs & quant::kNeedHessian) {
    NBL_ASSIGN(a.hessian_, BlockSum::create(k, k, true));
  }
  if (needs & quant::kNeedCross) {
    NBL_ASSIGN(a.drift_, Panels::create(k, bf16));
    NBL_ASSIGN(a.cross_, BlockSum::create(k, k, false));
  }
  if (needs & quant::kNeedResidual) {
    NBL_ASSIGN(a.stream_, Panels::create(n, bf16));
    NBL_ASSIGN(a.residual_, BlockSum::create(n, k, false));
  }
  return a;
}

void StatsAccumulator::add(const Sample& sample, Team& team) {
  for (int64_t t = 0; t < sample.m; t += kBlockTokens)
    add_block(sample, t, std::min(kBlockTokens, sample.m - t), team);
  tokens_ += sample.m;
  if (sample.original != nullptr || sample.original_stream != nullptr) compared_tokens_ += sample.m;
}

// A product counts in proportion to the inverse of what its token's stream has more than kUsual times the usual power: the next norm
// divides the stream by its size, and what is left of an error there is its share of it. Weighing all tokens so, or those beyond four
// times, costs a model without such tokens 1 to 2 % in divergence (prose-28m) and gains no more on one with them (SmolLM2).
void StatsAccumulator::find_factors(const float* stream, int64_t m, Team& team) {
  constexpr float kUsual = 16;
  team.parallel_for(m, 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      double sum = 0;
      for (int64_t c = 0; c < n_; ++c) sum += static_cast<double>(stream[t * n_ + c]) * static_cast<double>(stream[t * n_ + c]);
      factor_[static_cast<std::size_t>(t)] = static_cast<float>(sum / static_cast<double>(n_));
    }
  });
  double logs = 0;  // of the geometric mean, which a few huge values move little
  int64_t count = 0;
  for (int64_t t = 0; t < m; ++t) {
    const float power = factor_[static_cast<std::size_t>(t)];
    if (!(power > 0) || !std::isfinite(power)) continue;
    logs += std::log(static_cast<double>(power));
    ++count;
  }
  const float most = count > 0 ? kUsual * static_cast<float>(std::exp(logs / static_cast<double>(count))) : 0.0f;
  for (int64_t t = 0; t < m; ++t) {
    float& f = factor_[static_cast<std::size_t>(t)];
    f = f > most && std::isfinite(f) && most > 0 ? std::sqrt(most / f) : 1.0f;
  }
}

void StatsAccumulator::add_block(const Sample& s, int64_t first, int64_t m, Team& team) {
  const float* x = s.x + first * s.ldx;
  if (!abs_sum_.empty()) {
    team.parallel_for(k_, 64, [&](int64_t begin, int64_t end) {
      for (int64_t t = 0; t < m; ++t) {
        const float* row = x + t * s.ldx;
        for (int64_t c = begin; c < end; ++c) abs_sum_[static_cast<std::size_t>(c)] += std::fabs(row[c]);
      }
    });
  }
  if (!square_sum_.empty()) {
    team.parallel_for(k_, 64, [&](int64_t begin, int64_t end) {
      for (int64_t t = 0; t < m; ++t) {
        const float* row = x + t * s.ldx;
        for (int64_t c = begin; c < end; ++c) {
          square_sum_[static_cast<std::size_t>(c)] += static_cast<double>(row[c]) * static_cast<double>(row[c]);
        }
      }
    });
  }
  if (!abs_max_.empty()) {
    team.parallel_for(k_, 64, [&](int64_t begin, int64_t end) {
      for (int64_t t = 0; t < m; ++t) {
        const float* row = x + t * s.ldx;
        for (int64_t c = begin; c < end; ++c) {
          float& largest = abs_max_[static_cast<std::size_t>(c)];
          largest = std::max(largest, std::fabs(row[c]));
        }
      }
    });
  }
  if (hessian_.empty() && cross_.empty() && residual_.empty()) return;
  const float* factor = nullptr;
  if (!factor_.empty() && s.stream != nullptr) {
    find_factors(s.stream + first * n_, m, team);
    factor = factor_.data();
  }
  inputs_.pack(x, s.ldx, nullptr, 0, factor, m, team);
  if (!hessian_.empty()) hessian_.add(inputs_, inputs_, team);
  if (!cross_.empty() && s.original != nullptr) {
    drift_.pack(s.original + first * s.ld_original, s.ld_original, x, s.ldx, factor, m, team);
    cross_.add(inputs_, drift_, team);
  }
  if (!residual_.empty() && s.original_stream != nullptr) {
    stream_.pack(s.original_stream + first * n_, n_, s.stream + first * n_, n_, factor, m, team);
    residual_.add(stream_, inputs_, team);
  }
}

Result<quant::InputStats> StatsAccumulator::finish(Team& team) {
  quant::InputStats stats;
  stats.k = k_;
  stats.tokens = tokens_;
  if (!abs_sum_.empty()) {
    stats.abs_mean.resize(abs_sum_.size());
    for (std::size_t c = 0; c < abs_sum_.size(); ++c) {
      const double mean = tokens_ > 0 ? abs_sum_[c] / static_cast<double>(tokens_) : 0.0;
      if (!std::isfinite(mean)) {
        return Status(Code::corrupt, fmt::format("the activations of column {} are not finite", c));
      }
      stats.abs_mean[c] = static_cast<float>(mean);
    }
  }
  stats.abs_max = std::move(abs_max_);
  for (std::size_t c = 0; c < square_sum_.size(); ++c) {
    if (!std::isfinite(square_sum_[c])) {
      return Status(Code::corrupt, fmt::format("the activations of column {} are not finite", c));
    }
    stats.square.push_back(static_cast<float>(square_sum_[c]));
  }
  inputs_ = {};
  drift_ = {};
  stream_ = {};
  if (!hessian_.empty()) {
    NBL_TRY(hessian_.finish(team, &stats.hessian));
    for (int64_t c = 0; c < k_; ++c) {
      if (!std::isfinite(stats.hessian[static_cast<std::size_t>(c * k_ + c)])) {
        return Status(Code::corrupt, fmt::format("the activations of column {} are not finite", c));
      }
    }
  }
  if (!cross_.empty()) NBL_TRY(cross_.finish(team, &stats.cross));
  if (!residual_.empty()) NBL_TRY(residual_.finish(team, &stats.residual));
  if (compared_tokens_ > 0 && compared_tokens_ < tokens_) {
    const float factor = static_cast<float>(static_cast<double>(tokens_) / static_cast<double>(compared_tokens_));
    for (float& v : stats.cross) v *= factor;
    for (float& v : stats.residual) v *= factor;
  }
  return stats;
}

}  // namespace nbl::pipeline
