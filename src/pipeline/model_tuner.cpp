#include "pipeline/model_tuner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/random.h"
#include "pipeline/block_attention.h"
#include "pipeline/block_gradient.h"
#include "pipeline/experts_gradient.h"
#include "pipeline/latent_gradient.h"
#include "pipeline/learned_codes.h"
#include "pipeline/output_gradient.h"

namespace nbl::pipeline {
namespace {

using model::Role;

/// Weights of a norm while they are learned.
struct LearnedNorm {
  std::vector<float> mean, square;

  void step(const std::vector<float>& gradient, const Adam& adam, float rate, std::vector<float>* w) {
    mean.resize(w->size());
    square.resize(w->size());
    double size = 0;
    for (const float v : *w) size += static_cast<double>(std::fabs(v));
    const float unit = rate * static_cast<float>(size / static_cast<double>(w->size()));
    for (std::size_t i = 0; i < w->size(); ++i) (*w)[i] -= unit * std::clamp(adam.direction(gradient[i], mean[i], square[i]), -1.0f, 1.0f);
  }
};

class ModelTuner {
 public:
  ModelTuner(const model::Architecture& arch, const model::Config& config, const ModelTuneData& data,
             const ModelTuneOptions& options, Team& team, OutputGradient output, std::vector<TunedLayer>* layers)
      : arch_(arch),
        config_(config),
        data_(data),
        options_(options),
        team_(team),
        output_(std::move(output)),
        layers_(*layers),
        tokens_(data.batch_windows * data.length),
        again_(config.layers * tuned_activation_bytes(config, data.batch_windows, data.length) > options.activation_bytes) {}

  Status start() {
    learned_.resize(layers_.size());
    norms_.resize(layers_.size());
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      NBL_ASSIGN(BlockGradient block,
                 BlockGradient::create(arch_, config_, static_cast<int64_t>(l), team_, data_.batch_windows, data_.length,
                                       options_.compute, true, again_ && l > 0 ? &blocks_.front() : nullptr));
      blocks_.push_back(std::move(block));
      for (auto& [part, matrix] : layers_[l].weights.matrices) {
        const auto codes = layers_[l].codes.find(part);
        if (codes == layers_[l].codes.end()) {
          NBL_TRY(blocks_[l].set(part, matrix));
          continue;
        }
        learned_[l][part].begin(&codes->second, options_.learning.rate > 0 ? matrix.w : std::vector<float>{}, team_);
        matrix.w = {};  // the learned codes stand for it from now on
      }
    }
    states_.resize(layers_.size() + 1, std::vector<float>(static_cast<std::size_t>(tokens_ * config_.hidden)));
    original_.resize(states_.front().size());
    return materialize();
  }

  /// One step on one batch; the divergence before it.
  Result<double> step(int64_t batch, int64_t count, double share) {
    NBL_TRY(data_.load(batch, states_.front().data(), original_.data()));
    for (std::size_t l = 0; l < layers_.size(); ++l) NBL_TRY(blocks_[l].forward(states_[l].data(), states_[l + 1].data()));
    std::vector<float> dy(original_.size()), dx(original_.size());
    std::fill(output_.norm_gradient().begin(), output_.norm_gradient().end(), 0.0f);
    NBL_ASSIGN(const double divergence, output_.run(states_.back().data(), original_.data(), dy.data()));
    const quant::ModelLearning& rates = options_.learning;
    const float rate = static_cast<float>(rates.rate * share), scale_rate = static_cast<float>(rates.scale_rate * share),
                norm_rate = static_cast<float>(rates.norm_rate * share);
    const Adam adam(count);
    if (norm_rate > 0 && is_learned_norm(*arch_.find(Role::final_norm, config_)))
      final_norm_.step(output_.norm_gradient(), adam, norm_rate, &output_.norm());
    std::map<model::Part, std::vector<float>> gradients;
    std::map<Role, std::vector<float>> norm_gradients;
    for (std::size_t l = layers_.size(); l-- > 0;) {
      if (again_) NBL_TRY(blocks_[l].forward(states_[l].data(), states_[l + 1].data()));
      NBL_TRY(blocks_[l].backward(dy.data(), &gradients, dx.data(), &norm_gradients));
      dy.swap(dx);
      for (auto& [part, learned] : learned_[l]) learned.step(gradients.at(part), count, rate, scale_rate, team_);
      if (norm_rate > 0) {
        for (const auto& [role, gradient] : norm_gradients) {
          if (!is_learned_norm(*arch_.find(role, config_))) continue;
          norms_[l][role].step(gradient, adam, norm_rate, &layers_[l].weights.norms.at(role).w);
        }
      }
    }
    NBL_TRY(materialize());
    return divergence;
  }

  void keep() {
    for (auto& layer : learned_) {
      for (auto& [part, learned] : layer) learned.keep(team_);
    }
  }
  std::vector<float> final_norm() { return output_.norm(); }

 private:
  Status materialize() {
    model::LayerWeights::Matrix w;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      for (auto& [part, learned] : learned_[l]) {
        const model::LayerWeights::Matrix& m = layers_[l].weights.matrices.at(part);
        w.n = m.n;
        w.k = m.k;
        w.bias = m.bias;
        learned.materialize(team_, &w.w);
        NBL_TRY(blocks_[l].set(part, w));
      }
      blocks_[l].set_norms(layers_[l].weights);
    }
    return {};
  }

  const model::Architecture& arch_;
  const model::Config& config_;
  const ModelTuneData& data_;
  const ModelTuneOptions& options_;
  Team& team_;
  OutputGradient output_;
  std::vector<TunedLayer>& layers_;
  int64_t tokens_;
  bool again_;  ///< blocks share the memory for their way back
  std::vector<BlockGradient> blocks_;
  std::vector<std::map<model::Part, LearnedCodes>> learned_;
  std::vector<std::map<Role, LearnedNorm>> norms_;
  LearnedNorm final_norm_;
  std::vector<std::vector<float>> states_;  ///< before every layer and after the last
  std::vector<float> original_;
};

}  // namespace

bool is_learned_norm(const model::TensorSpec& spec) noexcept { return !spec.pattern.empty() && !spec.per_head; }

bool can_tune_model(const model::Architecture& arch, const model::Config& config) {
  for (int64_t l = 0; l < config.layers; ++l)
    if (!BlockGradient::supports(arch, config, l)) return false;
  return OutputGradient::supports(arch, config);
}

int64_t tuned_activation_bytes(const model::Config& config, int64_t windows, int64_t length) {
  const int64_t qkv = (config.heads + 2 * config.kv_heads) * config.head_dim * (config.qk_norm != model::QkNorm::none || config.clip_qkv > 0 ? 2 : 1);
  const int64_t attention = config.latent.kv_rank > 0 ? LatentGradient::kept_width(config, length)
                                                      : qkv + config.heads * (config.head_dim + padded_keys(length));
  const int64_t dense = (config.gated_mlp ? 3 : 2) * config.ffn;
  const int64_t mlp = config.experts.count > 0 ? std::max(dense, ExpertsGradient::kept_width(config)) : dense;
  const int64_t streams = config.norm_place == model::NormPlace::after_residual ? 8 : 6;
  return windows * length * (streams * config.hidden + mlp + attention) * 4;
}

Result<ModelTuneResult> tune_model(const Checkpoint& input, const model::Architecture& arch, const model::Config& config,
                                   const ModelTuneData& data, const ModelTuneOptions& options, Team& team,
                                   const std::function<Status(int64_t step, int64_t steps)>& tick, std::vector<TunedLayer>* layers) {
  if (data.batches < 1) return Status(Code::internal, "no calibration tokens to learn from");
  NBL_ASSIGN(OutputGradient output,
             OutputGradient::create(input, arch, config, team, data.batch_windows * data.length, options.compute));
  ModelTuner tuner(arch, config, data, options, team, std::move(output), layers);
  NBL_TRY(tuner.start());
  Random random(options.seed * 104729u + 1);
  std::vector<int64_t> order(static_cast<std::size_t>(data.batches));
  std::iota(order.begin(), order.end(), int64_t{0});
  const int64_t steps = std::max<int64_t>(1, static_cast<int64_t>(std::llround(options.learning.epochs * static_cast<double>(data.batches))));
  constexpr int64_t kWarm = 5;  // steps until Adam's means are worth something
  std::vector<double> met;
  for (int64_t s = 0; s < steps; ++s) {
    NBL_TRY(tick(s, steps));
    const std::size_t at = static_cast<std::size_t>(s % data.batches);
    if (at == 0) {
      for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    }
    const double share = std::min(1.0, static_cast<double>(s + 1) / static_cast<double>(kWarm)) * (1.0 - static_cast<double>(s) / static_cast<double>(steps));
    NBL_ASSIGN(const double divergence, tuner.step(order[at], s + 1, share));
    if (!std::isfinite(divergence)) return Status(Code::internal, fmt::format("learning diverged in step {}", s));
    met.push_back(divergence);
  }
  tuner.keep();
  ModelTuneResult result;
  const std::size_t part = std::max<std::size_t>(1, met.size() / 4);
  result.before = std::accumulate(met.begin(), met.begin() + static_cast<std::ptrdiff_t>(part), 0.0) / static_cast<double>(part);
  result.after = std::accumulate(met.end() - static_cast<std::ptrdiff_t>(part), met.end(), 0.0) / static_cast<double>(part);
  result.final_norm = tuner.final_norm();
  result.note = fmt::format("learned with the whole model in {} steps: divergence {:.4g} in the first {}, {:.4g} in the last", steps,
                            result.before, part, result.after);
  return result;
}

}  // namespace nbl::pipeline
