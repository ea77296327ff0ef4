#include "pipeline/streams.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "pipeline/gram.h"

namespace nbl::pipeline {
namespace {

/// Tokens that go through a layer together: whole windows, as many as fit.
constexpr int64_t kTogether = 1024;

bool adds_to_stream(model::Role role) { return role == model::Role::attn_out || role == model::Role::down; }

}  // namespace

Result<Streams> Streams::create(const Checkpoint& checkpoint, const model::Architecture& arch,
                                const model::Config& config, Team& team, std::span<const text::TokenId> ids,
                                const Options& options) {
  Streams s;
  s.arch_ = &arch;
  s.config_ = config;
  s.team_ = &team;
  s.options_ = options;
  try {
    s.hidden_.resize(ids.size() * static_cast<std::size_t>(config.hidden));
    NBL_TRY(model::embed(checkpoint, arch, config, ids, options.length, s.hidden_.data()));
    if (options.original) s.original_hidden_ = s.hidden_;
  } catch (const std::bad_alloc&) {
    return Status(Code::out_of_memory,
                  fmt::format("no memory for the activations of {} calibration tokens", ids.size()));
  }
  const int64_t together = std::clamp<int64_t>(kTogether / options.length, 1, options.windows);
  NBL_ASSIGN(s.quantized_,
             model::LayerRunner::create(arch, config, team, together, options.length, options.compute));
  if (options.original) {
    NBL_ASSIGN(s.original_,
               model::LayerRunner::create(arch, config, team, together, options.length, options.compute));
  }
  return s;
}

Status Streams::begin_layer(const model::LayerWeights& weights, int64_t layer) {
  NBL_TRY(quantized_->load(weights, layer));
  if (original_) NBL_TRY(original_->load(weights, layer));
  point_ = original_point_ = quantized_->restart_point(0);
  drifted_ = drifted_ || layer > 0;
  return {};
}

Status Streams::reload(const model::LayerWeights& weights) {
  for (const auto& [role, matrix] : weights.matrices) NBL_TRY(quantized_->replace(role, matrix));
  quantized_->replace_norms(weights);
  return {};
}

Status Streams::commit(model::LayerRunner& runner, std::size_t point, std::vector<float>& hidden, int64_t window,
                       int64_t count) {
  NBL_TRY(runner.advance(point));
  std::memcpy(rows(hidden, window), runner.residual(),
              static_cast<std::size_t>(count * options_.length * config_.hidden) * sizeof(float));
  return {};
}

Status Streams::gather(std::span<const std::size_t> groups, std::span<const uint32_t> needs, std::size_t next,
                       const TickFn& tick, std::vector<quant::InputStats>* stats) {
  std::vector<StatsAccumulator> sums;
  const std::size_t point = quantized_->restart_point(groups.front());
  const std::size_t original_point = quantized_->restart_point(next);
  drifted_ = drifted_ || groups.front() > 0;
  const int64_t together = quantized_->windows();
  for (int64_t w = 0; w < options_.windows; w += together) {
    NBL_TRY(tick(w));
    const int64_t count = std::min(together, options_.windows - w);
    NBL_TRY(quantized_->begin(point_, rows(hidden_, w), count));
    if (original_) NBL_TRY(original_->begin(original_point_, rows(original_hidden_, w), count));
    if (point > point_) NBL_TRY(commit(*quantized_, point, hidden_, w, count));
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const std::size_t g = groups[i];
      NBL_TRY(quantized_->advance(g));
      const model::GroupInput in = quantized_->input();
      const bool writes = adds_to_stream(arch_->groups[g].linears.front());
      if (sums.size() <= i) {
        uint32_t wanted = needs[i];
        if (!original_) wanted &= ~(quant::kNeedCross | quant::kNeedResidual);
        if (!writes) wanted &= ~static_cast<uint32_t>(quant::kNeedResidual);
        NBL_ASSIGN(StatsAccumulator sum, StatsAccumulator::create(in.k, wanted, config_.hidden, options_.compute));
        sums.push_back(std::move(sum));
      }
      Sample sample;
      sample.x = in.x;
      sample.ldx = in.ldx;
      sample.m = in.m;
      if (original_ && drifted_ && (needs[i] & (quant::kNeedCross | quant::kNeedResidual)) != 0) {
        NBL_TRY(original_->advance(g));
        const model::GroupInput unquantized = original_->input();
        sample.original = unquantized.x;
        sample.ld_original = unquantized.ldx;
        sample.stream = quantized_->residual();
        sample.original_stream = original_->residual();
      }
      sums[i].add(sample, *team_);
    }
    if (original_ && original_point > original_point_)
      NBL_TRY(commit(*original_, original_point, original_hidden_, w, count));
  }
  point_ = point;
  original_point_ = original_point;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    NBL_ASSIGN((*stats)[groups[i]], sums[i].finish(*team_));
  }
  return {};
}

Status Streams::end_layer(const TickFn& tick) {
  const std::size_t end = quantized_->groups();
  const int64_t together = quantized_->windows();
  for (int64_t w = 0; w < options_.windows; w += together) {
    NBL_TRY(tick(w));
    const int64_t count = std::min(together, options_.windows - w);
    NBL_TRY(quantized_->begin(point_, rows(hidden_, w), count));
    NBL_TRY(commit(*quantized_, end, hidden_, w, count));
    if (original_ && original_point_ < end) {
      NBL_TRY(original_->begin(original_point_, rows(original_hidden_, w), count));
      NBL_TRY(commit(*original_, end, original_hidden_, w, count));
    }
  }
  return {};
}

}  // namespace nbl::pipeline
