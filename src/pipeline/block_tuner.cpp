#include "pipeline/block_tuner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/random.h"
#include "pipeline/block_gradient.h"
#include "pipeline/learned_codes.h"

namespace nbl::pipeline {
namespace {

using model::LayerWeights;
using model::Role;
using quant::AffineCodes;

constexpr double kRate = 0.02;  ///< steps of the grid, when none is asked for

double squared_distance(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += d * d;
  }
  return sum;
}

/// Where the parabola through these errors at 0, 1/2 and 1 is lowest, between 0 and 1.
double lowest(double none, double half, double whole) {
  const double bend = 2 * (none - 2 * half + whole), slope = whole - none - bend;
  if (!(bend > 0)) return whole < none ? 1.0 : 0.1;
  return std::clamp(-slope / (2 * bend), 0.05, 1.0);
}

}  // namespace

Result<TuneResult> tune_block(const model::Architecture& arch, const model::Config& config, int64_t layer, const TuneData& data,
                              const TuneOptions& options, Team& team, const std::function<Status(int64_t)>& tick,
                              const LayerWeights& original, LayerWeights* weights, std::map<model::Part, AffineCodes>* codes) {
  TuneResult result;
  // A sixteenth of the tokens judges what the others taught; when there are hardly any, all do both.
  const int64_t judges = data.batches >= 4 ? std::max<int64_t>(1, data.batches / 16) : data.batches;
  const int64_t learned_from = data.batches >= 4 ? data.batches - judges : data.batches;
  const int64_t at_once = std::min(options.batches, learned_from);
  const int64_t batch_floats = data.batch_windows * data.length * data.hidden;

  NBL_ASSIGN(BlockGradient block,
             BlockGradient::create(arch, config, layer, team, at_once * data.batch_windows, data.length, options.compute));
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

  for (const auto& [part, matrix] : weights->matrices) NBL_TRY(block.set(part, matrix));
  NBL_ASSIGN(result.before, judge());
  const LayerWeights quantized = *weights;
  std::map<model::Part, LearnedCodes> learned;
  for (auto& [part, c] : *codes) {
    learned[part].begin(&c, original.matrices.at(part).w, team);
  }

  Random random(options.seed * 7919u + static_cast<uint64_t>(layer));
  std::map<model::Part, std::vector<float>> gradients;
  for (int64_t iteration = 0; iteration < options.iterations; ++iteration) {
    NBL_TRY(tick(iteration));
    for (int64_t i = 0; i < at_once; ++i) {
      const int64_t batch = static_cast<int64_t>(random.below(static_cast<uint64_t>(learned_from)));
      NBL_TRY(data.load(batch, x.data() + i * batch_floats, target.data() + i * batch_floats));
    }
    if (iteration > 0) {
      for (auto& [part, l] : learned) {
        l.materialize(team, &weights->matrices.at(part).w);
        NBL_TRY(block.set(part, weights->matrices.at(part)));
      }
    }
    NBL_TRY(block.forward(x.data(), y.data()));
    for (std::size_t i = 0; i < y.size(); ++i) y[i] -= target[i];  // the loss's gradient, but for a factor
    NBL_TRY(block.backward(y.data(), &gradients));
    const double left = 1 - static_cast<double>(iteration) / static_cast<double>(options.iterations);
    const double rate = (options.rate > 0 ? options.rate : kRate) * left;
    for (auto& [part, l] : learned)
      l.step(gradients.at(part), iteration + 1, static_cast<float>(rate), static_cast<float>(options.scale_rate * left), team);
  }
  double share = 1;  // of the way from where codes and scales began to where the steps led
  const auto go = [&](double to) -> Status {
    for (auto& [part, l] : learned) {
      if (to != share) l.stretch(static_cast<float>(to / share), original.matrices.at(part).w, team);
      l.materialize(team, &weights->matrices.at(part).w);
      NBL_TRY(block.set(part, weights->matrices.at(part)));
    }
    share = to;
    return {};
  };
  // The steps give a direction. How far to go along it, the tokens say that nothing was learned from: with few of them in a step, and
  // with activations a hundred times as large as others (Gemma 3), the whole way may be too far.
  std::map<double, double> errors;  // by share
  double best = 1;
  for (int probe = 0; probe < 3; ++probe) {  // the whole, half, and what both say
    const double to = probe == 0 ? 1 : probe == 1 ? 0.5 : lowest(result.before, errors.at(0.5), errors.at(1));
    if (errors.contains(to)) break;
    NBL_TRY(go(to));
    NBL_ASSIGN(errors[to], judge());
    if (errors.at(to) < errors.at(best)) best = to;
  }
  if (share != best) NBL_TRY(go(best));
  result.after = errors.at(best);
  result.changed = std::isfinite(result.after) && result.after < result.before;
  if (result.changed) {
    for (auto& [part, l] : learned) l.keep(team);
    result.note = fmt::format("learned rounding lowered the block's squared error from {:.4g} to {:.4g}", result.before, result.after);
  } else {
    *weights = quantized;
    result.note = fmt::format("learned rounding did not lower the block's squared error ({:.4g} against {:.4g}): not used",
                              result.after, result.before);
  }
  return result;
}

}  // namespace nbl::pipeline
