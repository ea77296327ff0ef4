#include "pipeline/streams.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "pipeline/gram.h"

namespace nbl::pipeline {
namespace {

/// Tokens that go through a layer together: whole windows, as many as fit.
constexpr int64_t kTogether = 1024;

/// Whether what these linears give goes into the residual stream as it is, so that they can make good what the stream
/// lacks. Of two blocks side by side only the last may.
bool adds_to_stream(const model::InputGroup& group, const model::Config& config, const model::Architecture& arch) {
  const model::Role role = group.linears.front().role;
  if (config.residual_scale != 1 || config.norm_place != model::NormPlace::pre) return false;
  if (role == model::Role::attn_out)
    return !config.parallel_residual && arch.find(model::Role::attn_post_norm, config) == nullptr;
  return role == model::Role::down && arch.find(model::Role::mlp_post_norm, config) == nullptr;
}

/// Rows that go to an expert differ from model to model.
bool of_expert(const model::InputGroup& group) { return group.linears.front().expert >= 0; }

}  // namespace

Result<Streams> Streams::create(const Checkpoint& checkpoint, const model::Architecture& arch,
                                const model::Config& config, Team& team, std::span<const text::TokenId> ids,
                                const Options& options) {
  Streams s;
  s.arch_ = &arch;
  s.config_ = config;
  s.team_ = &team;
  s.options_ = options;
  const int64_t count = static_cast<int64_t>(ids.size()), rows = together(options.windows, options.length) * options.length;
  NBL_ASSIGN(s.hidden_, Activations::create(count, config.hidden, rows, options.spill));
  if (options.original) {
    NBL_ASSIGN(s.original_hidden_, Activations::create(count, config.hidden, rows, options.spill));
  }
  if (options.keep_input) {
    NBL_ASSIGN(s.input_, Activations::create(count, config.hidden, rows, options.spill));
  }
  NBL_TRY(s.embed(checkpoint, ids, options.original));
  const auto runner = [&] {
    return model::LayerRunner::create(arch, config, team, together(options.windows, options.length), options.length,
                                      options.compute);
  };
  NBL_ASSIGN(s.quantized_, runner());
  if (options.original) {
    NBL_ASSIGN(s.original_, runner());
  }
  if (options.keep_adding) {
    const int64_t batch_rows = rows, last_rows = s.batch_windows(s.batches() - 1) * options.length;
    s.kept_.emplace(team, s.batches(), batch_rows, last_rows, options.compute);
  }
  return s;
}

bool Streams::beside(int64_t batch) const noexcept {
  if (!original_) return false;
  const double share = options_.original_share;
  return batch == 0 || std::floor(static_cast<double>(batch + 1) * share) > std::floor(static_cast<double>(batch) * share);
}

int64_t Streams::together(int64_t windows, int64_t length) { return std::clamp<int64_t>(kTogether / length, 1, windows); }

int64_t Streams::batches() const noexcept {
  const int64_t size = together(options_.windows, options_.length);
  return (options_.windows + size - 1) / size;
}

int64_t Streams::batch_windows(int64_t batch) const noexcept {
  const int64_t size = together(options_.windows, options_.length);
  return std::min(size, options_.windows - batch * size);
}

/// Several batches at a time: each call reads the whole table of embeddings.
Status embed_batches(const Checkpoint& checkpoint, const model::Architecture& arch, const model::Config& config,
                     std::span<const text::TokenId> ids, int64_t length, int64_t rows,
                     const std::function<Status(int64_t batch, const float*)>& take) {
  constexpr int64_t kFloats = int64_t{8} << 20;
  const int64_t at_once = std::max<int64_t>(1, kFloats / (rows * config.hidden)) * rows, count = static_cast<int64_t>(ids.size());
  std::vector<float> part;
  for (int64_t first = 0; first < count; first += at_once) {
    const int64_t tokens = std::min(at_once, count - first);
    part.resize(static_cast<std::size_t>(tokens * config.hidden));
    NBL_TRY(model::embed(checkpoint, arch, config, ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(tokens)), length,
                         part.data()));
    for (int64_t t = 0; t < tokens; t += rows) NBL_TRY(take((first + t) / rows, part.data() + t * config.hidden));
  }
  return {};
}

Status Streams::embed(const Checkpoint& checkpoint, std::span<const text::TokenId> ids, bool original) {
  const int64_t rows = together(options_.windows, options_.length) * options_.length;
  return embed_batches(checkpoint, *arch_, config_, ids, options_.length, rows, [&](int64_t batch, const float* values) -> Status {
    if (original) NBL_TRY(original_hidden_.store(batch, values));
    return hidden_.store(batch, values);
  });
}

Status Streams::replace(model::Part part, const model::LayerWeights::Matrix& matrix) {
  if (kept_ && kept_->holds(part)) NBL_TRY(kept_->set(matrix));
  return quantized_->replace(part, matrix);
}

Status Streams::step(std::size_t point, int64_t batch) {
  if (kept_ && kept_->ready() && kept_from_ == point_ && kept_to_ == point) {
    const std::size_t count = static_cast<std::size_t>(batch_windows(batch) * options_.length * config_.hidden);
    NBL_ASSIGN(const float* values, hidden_.load(batch));
    stream_.assign(values, values + count);
    NBL_TRY(kept_->add(batch, stream_.data()));
    NBL_TRY(hidden_.store(batch, stream_.data()));
    return point < quantized_->groups() ? begin(*quantized_, point, hidden_, batch) : Status();
  }
  NBL_TRY(begin(*quantized_, point_, hidden_, batch));
  return commit(*quantized_, point, hidden_, batch);
}

Status Streams::begin_layer(const model::LayerWeights& weights, int64_t layer) {
  if (kept_) kept_->drop();
  NBL_TRY(quantized_->load(weights, layer));
  groups_ = model::layer_groups(*arch_, config_, layer);
  if (original_) NBL_TRY(original_->load(weights, layer));
  point_ = original_point_ = quantized_->restart_point(0);
  drifted_ = drifted_ || layer > 0;
  for (int64_t b = 0; options_.keep_input && b < batches(); ++b) {
    NBL_ASSIGN(const float* values, hidden_.load(b));
    NBL_TRY(input_.store(b, values));
  }
  return {};
}

Status Streams::rewind() {
  for (int64_t b = 0; b < batches(); ++b) {
    NBL_ASSIGN(const float* values, input_.load(b));
    NBL_TRY(hidden_.store(b, values));
  }
  point_ = quantized_->restart_point(0);
  if (kept_) kept_->drop();
  return {};
}

Status Streams::load_pair(int64_t batch, float* input, float* target) {
  if (!options_.keep_input || !original_ || original_point_ != quantized_->groups())
    return {Code::internal, "the original model has not left the layer"};
  const int64_t count = batch_windows(batch) * options_.length * config_.hidden;
  NBL_ASSIGN(const float* x, input_.load(batch));
  std::copy_n(x, count, input);
  NBL_ASSIGN(const float* y, original_hidden_.load(batch));
  std::copy_n(y, count, target);
  return {};
}

Status Streams::start_again(const Checkpoint& checkpoint, std::span<const text::TokenId> ids) {
  if (!options_.original) return {Code::internal, "the original model does not run beside"};
  quantized_.reset();
  original_.reset();
  return embed(checkpoint, ids, false);
}

Status Streams::load_ends(int64_t batch, float* embedded, float* original) {
  const int64_t count = batch_windows(batch) * options_.length * config_.hidden;
  NBL_ASSIGN(const float* x, hidden_.load(batch));
  std::copy_n(x, count, embedded);
  NBL_ASSIGN(const float* y, original_hidden_.load(batch));
  std::copy_n(y, count, original);
  return {};
}

Status Streams::reload(const model::LayerWeights& weights) {
  for (const auto& [role, matrix] : weights.matrices) NBL_TRY(quantized_->replace(role, matrix));
  quantized_->replace_norms(weights);
  if (kept_) kept_->drop();
  return {};
}

Status Streams::begin(model::LayerRunner& runner, std::size_t point, Activations& hidden, int64_t batch) {
  NBL_ASSIGN(const float* values, hidden.load(batch));
  return runner.begin(point, values, batch_windows(batch));
}

Status Streams::commit(model::LayerRunner& runner, std::size_t point, Activations& hidden, int64_t batch) {
  NBL_TRY(runner.advance(point));
  return hidden.store(batch, runner.residual());
}

Status Streams::gather(std::span<const std::size_t> groups, std::span<const uint32_t> needs, std::size_t next,
                       const TickFn& tick, std::vector<quant::InputStats>* stats) {
  std::vector<StatsAccumulator> sums;
  const std::size_t point = quantized_->restart_point(groups.front());
  const std::size_t original_point = quantized_->restart_point(next);
  drifted_ = drifted_ || groups.front() > 0;
  if (kept_ && (point == point_ || kept_to_ != point)) kept_->drop();
  const bool keep = kept_ && !kept_->ready() && groups.size() == 1 && !config_.parallel_residual &&
                    adds_to_stream(groups_[groups.front()], config_, *arch_);
  for (int64_t b = 0; b < batches(); ++b) {
    NBL_TRY(tick(b * quantized_->windows()));
    const bool beside = this->beside(b);
    NBL_TRY(point > point_ ? step(point, b) : begin(*quantized_, point_, hidden_, b));
    if (beside) NBL_TRY(begin(*original_, original_point_, original_hidden_, b));
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const std::size_t g = groups[i];
      NBL_TRY(quantized_->advance(g));
      const model::GroupInput in = quantized_->input();
      const bool writes = adds_to_stream(groups_[g], config_, *arch_), compared = original_ && !of_expert(groups_[g]);
      if (keep) {
        if (b == 0) NBL_TRY(kept_->start(groups_[g].linears.front(), in.k));
        kept_->store(b, in.x, in.ldx, in.m);
      }
      uint32_t wanted = needs[i];
      if (!compared) wanted &= ~(quant::kNeedCross | quant::kNeedResidual);
      if (!writes) wanted &= ~static_cast<uint32_t>(quant::kNeedResidual);
      if (!writes || of_expert(groups_[g])) wanted &= ~static_cast<uint32_t>(quant::kNeedEvenTokens);
      if (sums.size() <= i) {
        NBL_ASSIGN(StatsAccumulator sum, StatsAccumulator::create(in.k, wanted, config_.hidden, options_.compute));
        sums.push_back(std::move(sum));
      }
      Sample sample;
      sample.x = in.x;
      sample.ldx = in.ldx;
      sample.m = in.m;
      if ((wanted & quant::kNeedEvenTokens) != 0) sample.stream = quantized_->residual();
      if (compared && beside && drifted_ && (needs[i] & (quant::kNeedCross | quant::kNeedResidual)) != 0) {
        NBL_TRY(original_->advance(g));
        const model::GroupInput unquantized = original_->input();
        sample.original = unquantized.x;
        sample.ld_original = unquantized.ldx;
        sample.stream = quantized_->residual();
        sample.original_stream = original_->residual();
      }
      sums[i].add(sample, *team_);
    }
    if (beside && original_point > original_point_)
      NBL_TRY(commit(*original_, original_point, original_hidden_, b));
  }
  point_ = point;
  original_point_ = original_point;
  kept_from_ = point;
  kept_to_ = quantized_->restart_point(groups.front() + 1);
  for (std::size_t i = 0; i < groups.size(); ++i) {
    NBL_ASSIGN((*stats)[groups[i]], sums[i].finish(*team_));
  }
  return {};
}

Status Streams::end_layer(const TickFn& tick) {
  const std::size_t end = quantized_->groups();
  for (int64_t b = 0; b < batches(); ++b) {
    NBL_TRY(tick(b * quantized_->windows()));
    NBL_TRY(step(end, b));
    if (beside(b) && original_point_ < end) {
      NBL_TRY(begin(*original_, original_point_, original_hidden_, b));
      NBL_TRY(commit(*original_, end, original_hidden_, b));
    }
  }
  return {};
}

}  // namespace nbl::pipeline
