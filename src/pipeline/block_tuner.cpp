#include "pipeline/block_tuner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/random.h"
#include "pipeline/block_gradient.h"

namespace nbl::pipeline {
namespace {

using model::LayerWeights;
using model::Role;
using quant::AffineCodes;

constexpr double kRate = 0.02;  ///< steps of the grid, when none is asked for

/// A matrix whose codes are real numbers for as long as they are learned.
struct Learned {
  AffineCodes* codes = nullptr;
  LayerWeights::Matrix* matrix = nullptr;
  std::vector<float> latent, scales;  ///< [n, k] in units of the grid; [n, groups]
  // Running means of the gradients and of their squares (Kingma and Ba, 2015): what is noise cancels out, so that only
  // those codes move whose gradient keeps its sign. Plain signs move all of them, and undo what gptq had weighed up.
  std::vector<float> mean, square, scale_mean, scale_square;

  float zero(std::size_t group) const {
    return codes->symmetric ? static_cast<float>(1 << (codes->bits - 1)) : codes->zeros[group];
  }
  float max_code() const { return static_cast<float>((1 << codes->bits) - 1); }

  /// Starts inside the step of the code that there is, as near as that allows to where the weight would be: a code that
  /// rounding nearly chose otherwise is the first to move.
  void begin(const std::vector<float>& original, Team& team) {
    scales = codes->scales;
    latent.resize(codes->codes.size());
    mean.assign(latent.size(), 0.0f);
    square.assign(latent.size(), 0.0f);
    scale_mean.assign(scales.size(), 0.0f);
    scale_square.assign(scales.size(), 0.0f);
    each_group(team, [&](std::size_t first, std::size_t last, std::size_t g) {
      const float s = scales[g], z = zero(g);
      for (std::size_t i = first; i < last; ++i) {
        const float code = static_cast<float>(codes->codes[i]);
        latent[i] = std::clamp(original[i] / s + z, code - 0.45f, code + 0.45f);
      }
    });
  }

  template <class F>
  void each_group(Team& team, F&& f) const {
    const int64_t groups = codes->groups();
    team.parallel_for(codes->n, 8, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t g = 0; g < groups; ++g) {
          f(static_cast<std::size_t>(r * codes->k + g * codes->group),
            static_cast<std::size_t>(r * codes->k + std::min(codes->k, (g + 1) * codes->group)),
            static_cast<std::size_t>(r * groups + g));
        }
      }
    });
  }

  float code_of(float value) const { return quant::round_even(std::clamp(value, 0.0f, max_code())); }

  /// The matrix that the learned codes and scales stand for now.
  void materialize(Team& team) {
    each_group(team, [&](std::size_t first, std::size_t last, std::size_t g) {
      const float s = quant::round_scale(scales[g], codes->scale_type), z = zero(g);
      for (std::size_t i = first; i < last; ++i) matrix->w[i] = s * (code_of(latent[i]) - z);
    });
  }

  /// A step downhill, the `count`-th (from 1); rounding passes a gradient on as if it were not there.
  void step(const std::vector<float>& gradient, int64_t count, float rate, float scale_rate, Team& team) {
    constexpr float kKeepMean = 0.9f, kKeepSquare = 0.95f;
    const float top = max_code();
    const float mean_gain = 1.0f / (1.0f - std::pow(kKeepMean, static_cast<float>(count)));
    const float square_gain = 1.0f / (1.0f - std::pow(kKeepSquare, static_cast<float>(count)));
    const auto direction = [&](float slope, float& m, float& v) {
      m = kKeepMean * m + (1 - kKeepMean) * slope;
      v = kKeepSquare * v + (1 - kKeepSquare) * slope * slope;
      return v > 0 ? m * mean_gain / std::sqrt(v * square_gain) : 0.0f;
    };
    each_group(team, [&](std::size_t first, std::size_t last, std::size_t g) {
      const float z = zero(g);
      float along = 0;
      for (std::size_t i = first; i < last; ++i) {
        along += gradient[i] * (code_of(latent[i]) - z);
        latent[i] = std::clamp(latent[i] - rate * direction(gradient[i], mean[i], square[i]), -0.49f, top + 0.49f);
      }
      scales[g] *= 1 - scale_rate * std::clamp(direction(along, scale_mean[g], scale_square[g]), -1.0f, 1.0f);
    });
  }

  void keep(Team& team) {
    each_group(team, [&](std::size_t first, std::size_t last, std::size_t g) {
      codes->scales[g] = quant::round_scale(scales[g], codes->scale_type);
      for (std::size_t i = first; i < last; ++i) codes->codes[i] = static_cast<uint8_t>(code_of(latent[i]));
    });
  }
};

double squared_distance(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += d * d;
  }
  return sum;
}

}  // namespace

Result<TuneResult> tune_block(const model::Config& config, int64_t layer, const TuneData& data, const TuneOptions& options,
                              Team& team, const std::function<Status(int64_t)>& tick, const LayerWeights& original,
                              LayerWeights* weights, std::map<model::Part, AffineCodes>* codes) {
  TuneResult result;
  // A sixteenth of the tokens judges what the others taught; when there are hardly any, all do both.
  const int64_t judges = data.batches >= 4 ? std::max<int64_t>(1, data.batches / 16) : data.batches;
  const int64_t learned_from = data.batches >= 4 ? data.batches - judges : data.batches;
  const int64_t at_once = std::min(options.batches, learned_from);
  const int64_t batch_floats = data.batch_windows * data.length * data.hidden;

  NBL_ASSIGN(BlockGradient block,
             BlockGradient::create(config, layer, team, at_once * data.batch_windows, data.length, options.compute));
  block.set_norms(*weights);
  std::vector<float> x(static_cast<std::size_t>(at_once * batch_floats)), target(x.size()), y(x.size());
  // Batches are judged as many at a time as are learned from.
  const auto judge = [&]() -> Result<double> {
    double sum = 0;
    for (int64_t first = 0; first < judges; first += at_once) {
      for (int64_t i = 0; i < at_once; ++i) {
        const int64_t batch = data.batches - 1 - std::min(first + i, judges - 1);
        NBL_TRY(data.load(batch, x.data() + i * batch_floats, target.data() + i * batch_floats));
      }
      NBL_TRY(block.forward(x.data(), y.data()));
      sum += squared_distance(y.data(), target.data(), std::min(at_once, judges - first) * batch_floats);
    }
    return sum / static_cast<double>(judges * batch_floats);
  };

  for (const auto& [part, matrix] : weights->matrices) NBL_TRY(block.set(part.role, matrix));
  NBL_ASSIGN(result.before, judge());
  const LayerWeights quantized = *weights;
  std::map<model::Part, Learned> learned;
  for (auto& [role, c] : *codes) {
    Learned& l = learned[role];
    l.codes = &c;
    l.matrix = &weights->matrices.at(role);
    l.begin(original.matrices.at(role).w, team);
  }

  Random random(options.seed * 7919u + static_cast<uint64_t>(layer));
  std::map<Role, std::vector<float>> gradients;
  for (int64_t iteration = 0; iteration < options.iterations; ++iteration) {
    NBL_TRY(tick(iteration));
    for (int64_t i = 0; i < at_once; ++i) {
      const int64_t batch = static_cast<int64_t>(random.below(static_cast<uint64_t>(learned_from)));
      NBL_TRY(data.load(batch, x.data() + i * batch_floats, target.data() + i * batch_floats));
    }
    if (iteration > 0) {
      for (auto& [role, l] : learned) {
        l.materialize(team);
        NBL_TRY(block.set(role.role, *l.matrix));
      }
    }
    NBL_TRY(block.forward(x.data(), y.data()));
    for (std::size_t i = 0; i < y.size(); ++i) y[i] -= target[i];  // the loss's gradient, but for a factor
    NBL_TRY(block.backward(y.data(), &gradients));
    const double left = 1 - static_cast<double>(iteration) / static_cast<double>(options.iterations);
    const double rate = (options.rate > 0 ? options.rate : kRate) * left;
    for (auto& [role, l] : learned)
      l.step(gradients.at(role.role), iteration + 1, static_cast<float>(rate), static_cast<float>(options.scale_rate * left), team);
  }
  for (auto& [role, l] : learned) {
    l.materialize(team);
    NBL_TRY(block.set(role.role, *l.matrix));
  }
  NBL_ASSIGN(result.after, judge());
  result.changed = std::isfinite(result.after) && result.after < result.before;
  if (result.changed) {
    for (auto& [role, l] : learned) l.keep(team);
    result.note = fmt::format("learned rounding lowered the block's squared error from {:.4g} to {:.4g}", result.before, result.after);
  } else {
    *weights = quantized;
    result.note = fmt::format("learned rounding did not lower the block's squared error ({:.4g} against {:.4g}): not used",
                              result.after, result.before);
  }
  return result;
}

}  // namespace nbl::pipeline
