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

// Tokens packed at a time: enough to hide the walk over the result's blocks.
constexpr int64_t kBlockTokens = 1024;
// Tokens summed in registers before they join the block's sum: two panels of it fill the first-level cache. Short sums
// first also keep the rounding error of long ones small.
constexpr int64_t kSteps = 128;
constexpr int64_t kBlockFloats = int64_t{kGramPanel} * kGramPanel;

const kernels::GramVariant& variant() {
  static const kernels::GramVariant* chosen =
      kernels::gram_select([](int isa) { return isa_usable(static_cast<Isa>(isa)); });
  return *chosen;
}

/// The block (i, j >= i) of the upper triangle lies at this index: rows of shrinking length follow each other.
int64_t block_index(int64_t i, int64_t j, int64_t panels) { return i * panels - i * (i - 1) / 2 + (j - i); }

}  // namespace

Result<StatsAccumulator> StatsAccumulator::create(int64_t k, uint32_t needs) {
  StatsAccumulator a;
  a.needs_ = needs;
  a.k_ = k;
  a.panels_ = ceil_div(k, kGramPanel);
  try {
    if (needs & quant::kNeedAbsMean) a.abs_sum_.assign(static_cast<std::size_t>(k), 0.0);
    if (needs & quant::kNeedSquare) a.square_sum_.assign(static_cast<std::size_t>(k), 0.0);
    if (needs & quant::kNeedAbsMax) a.abs_max_.assign(static_cast<std::size_t>(k), 0.0f);
    if (needs & quant::kNeedHessian) {
      const int64_t blocks = a.panels_ * (a.panels_ + 1) / 2;
      a.hessian_.assign(static_cast<std::size_t>(blocks * kBlockFloats), 0.0f);
    }
  } catch (const std::bad_alloc&) {
    return Status(Code::out_of_memory, fmt::format("no memory for the statistics of an input of {} columns", k));
  }
  if (needs & quant::kNeedHessian) {
    NBL_ASSIGN(a.packed_,
               Buffer::create(static_cast<std::size_t>(a.panels_ * kBlockTokens * kGramPanel) * sizeof(float)));
  }
  return a;
}

void StatsAccumulator::add(const float* x, int64_t ldx, int64_t m, Team& team) {
  for (int64_t t = 0; t < m; t += kBlockTokens) add_block(x + t * ldx, ldx, std::min(kBlockTokens, m - t), team);
  tokens_ += m;
}

void StatsAccumulator::add_block(const float* x, int64_t ldx, int64_t m, Team& team) {
  if (!abs_sum_.empty()) {
    team.parallel_for(k_, 64, [&](int64_t begin, int64_t end) {
      for (int64_t t = 0; t < m; ++t) {
        const float* row = x + t * ldx;
        for (int64_t c = begin; c < end; ++c) abs_sum_[static_cast<std::size_t>(c)] += std::fabs(row[c]);
      }
    });
  }
  if (!square_sum_.empty()) {
    team.parallel_for(k_, 64, [&](int64_t begin, int64_t end) {
      for (int64_t t = 0; t < m; ++t) {
        const float* row = x + t * ldx;
        for (int64_t c = begin; c < end; ++c) {
          square_sum_[static_cast<std::size_t>(c)] += static_cast<double>(row[c]) * static_cast<double>(row[c]);
        }
      }
    });
  }
  if (!abs_max_.empty()) {
    team.parallel_for(k_, 64, [&](int64_t begin, int64_t end) {
      for (int64_t t = 0; t < m; ++t) {
        const float* row = x + t * ldx;
        for (int64_t c = begin; c < end; ++c) {
          float& largest = abs_max_[static_cast<std::size_t>(c)];
          largest = std::max(largest, std::fabs(row[c]));
        }
      }
    });
  }
  if (hessian_.empty()) return;

  float* packed = packed_.as<float>().data();
  const int64_t panel_floats = m * kGramPanel;
  team.parallel_for(panels_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kGramPanel, count = std::min<int64_t>(kGramPanel, k_ - first);
      float* out = packed + p * panel_floats;
      for (int64_t t = 0; t < m; ++t, out += kGramPanel) {
        std::memcpy(out, x + t * ldx + first, static_cast<std::size_t>(count) * sizeof(float));
        if (count < kGramPanel)
          std::memset(out + count, 0, static_cast<std::size_t>(kGramPanel - count) * sizeof(float));
      }
    }
  });

  const kernels::GramFn fn = variant().fn;
  const int64_t blocks = panels_ * (panels_ + 1) / 2;
  // A chunk of neighbouring blocks shares its left panel, which then stays in the second-level cache.
  team.parallel_for(blocks, 4, [&](int64_t begin, int64_t end) {
    alignas(64) float sum[kBlockFloats];
    int64_t i = 0;
    while (block_index(i + 1, i + 1, panels_) <= begin && i + 1 < panels_) ++i;
    int64_t j = i + (begin - block_index(i, i, panels_));
    for (int64_t b = begin; b < end; ++b) {
      std::memset(sum, 0, sizeof(sum));
      for (int64_t t = 0; t < m; t += kSteps) {
        kernels::GramArgs args;
        args.a = packed + i * panel_floats + t * kGramPanel;
        args.b = packed + j * panel_floats + t * kGramPanel;
        args.c = sum;
        args.steps = std::min(kSteps, m - t);
        fn(&args);
      }
      float* h = hessian_.data() + b * kBlockFloats;
      for (int64_t e = 0; e < kBlockFloats; ++e) h[e] += sum[e];
      if (++j == panels_) {
        ++i;
        j = i;
      }
    }
  });
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
  if (!hessian_.empty()) {
    packed_ = Buffer();
    try {
      stats.hessian.resize(static_cast<std::size_t>(k_ * k_));
    } catch (const std::bad_alloc&) {
      return Status(Code::out_of_memory, fmt::format("no memory for a Hessian of {0} x {0}", k_));
    }
    float* out = stats.hessian.data();
    team.parallel_for(panels_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t rows = std::min<int64_t>(kGramPanel, k_ - i * kGramPanel);
        for (int64_t j = i; j < panels_; ++j) {
          const float* block = hessian_.data() + block_index(i, j, panels_) * kBlockFloats;
          const int64_t cols = std::min<int64_t>(kGramPanel, k_ - j * kGramPanel);
          for (int64_t r = 0; r < rows; ++r) {
            for (int64_t c = 0; c < cols; ++c) {
              const float v = block[r * kGramPanel + c];
              out[(i * kGramPanel + r) * k_ + j * kGramPanel + c] = v;
              out[(j * kGramPanel + c) * k_ + i * kGramPanel + r] = v;
            }
          }
        }
      }
    });
    for (int64_t c = 0; c < k_; ++c) {
      if (!std::isfinite(out[c * k_ + c])) {
        return Status(Code::corrupt, fmt::format("the activations of column {} are not finite", c));
      }
    }
  }
  return stats;
}

}  // namespace nbl::pipeline
