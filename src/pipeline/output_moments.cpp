#include "pipeline/output_moments.h"

#include <algorithm>
#include <cmath>

#include "pipeline/activations.h"
#include "pipeline/block_gradient.h"
#include "pipeline/output_gradient.h"
#include "pipeline/streams.h"

namespace nbl::pipeline {
namespace {

using Moments = std::map<model::Part, std::vector<float>>;

void add(Moments&& part, Team& team, Moments* sums) {
  for (auto& [role, moments] : part) {
    const auto [sum, first] = sums->try_emplace(role, std::vector<float>{});
    if (first) {
      sum->second = std::move(moments);
      continue;
    }
    float* to = sum->second.data();
    const float* from = moments.data();
    team.parallel_for(static_cast<int64_t>(moments.size()), 1 << 14, [to, from](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] += from[i];
    });
  }
}

}  // namespace

Result<OutputMoments> OutputMoments::measure(const Checkpoint& input, const model::Architecture& arch, const model::Config& config,
                                             Team& team, std::span<const text::TokenId> ids, const Options& options, const TickFn& tick) {
  OutputMoments out;
  out.layers_.resize(static_cast<std::size_t>(config.layers));
  if (options.spill_moments) {
    NBL_ASSIGN(out.file_, ScratchFile::create(*options.spill_moments));
  }
  const int64_t windows = Streams::together(options.windows, options.length), rows = windows * options.length;
  const int64_t batches = options.windows / windows;
  const int64_t tokens = batches * rows;
  out.gradients_ = kProbes * tokens;

  std::vector<Activations> streams;  // before each layer and behind the last; of layers that are not asked for only the way through
  const auto stream = [&](int64_t l) -> Activations& { return streams[static_cast<std::size_t>(std::max<int64_t>(0, l - options.first_layer))]; };
  for (int64_t l = options.first_layer; l <= config.layers; ++l) {
    NBL_ASSIGN(Activations a, Activations::create(tokens, config.hidden, rows, options.spill));
    streams.push_back(std::move(a));
  }
  NBL_TRY(embed_batches(input, arch, config, ids.first(static_cast<std::size_t>(tokens)), options.length, rows,
                        [&](int64_t batch, const float* values) { return stream(0).store(batch, values); }));

  const auto block_of = [&](int64_t l) -> Result<BlockGradient> {
    NBL_ASSIGN(const model::LayerWeights weights, model::load_layer(input, arch, config, l));
    NBL_ASSIGN(BlockGradient block, BlockGradient::create(arch, config, l, team, windows, options.length, options.compute, true));
    block.take_output_moments();
    block.set_norms(weights);
    for (const auto& [part, matrix] : weights.matrices) NBL_TRY(block.set(part, matrix));
    return block;
  };
  std::vector<float> y(static_cast<std::size_t>(rows * config.hidden)), dx(y.size());
  for (int64_t l = 0; l < config.layers; ++l) {
    NBL_ASSIGN(BlockGradient block, block_of(l));
    for (int64_t b = 0; b < batches; ++b) {
      NBL_TRY(tick(l, false));
      NBL_ASSIGN(const float* x, stream(l).load(b));
      NBL_TRY(block.forward(x, y.data()));
      NBL_TRY(stream(l + 1).store(b, y.data()));
    }
  }
  std::vector<Activations> gradients;  // one a probe; the last one's take the place of what is behind the last layer
  for (int probe = 1; probe < kProbes; ++probe) {
    NBL_ASSIGN(Activations a, Activations::create(tokens, config.hidden, rows, options.spill));
    gradients.push_back(std::move(a));
  }
  gradients.push_back(std::move(streams.back()));
  streams.pop_back();
  {
    NBL_ASSIGN(OutputGradient output, OutputGradient::create(input, arch, config, team, rows, options.compute));
    for (int64_t b = 0; b < batches; ++b) {
      NBL_ASSIGN(const float* x, gradients.back().load(b));
      for (int probe = 0; probe < kProbes; ++probe) {  // the last one overwrites x
        NBL_TRY(output.probe(x, options.seed * 7919u + static_cast<uint64_t>(probe * tokens + b * rows), dx.data()));
        NBL_TRY(gradients[static_cast<std::size_t>(probe)].store(b, dx.data()));
      }
    }
  }
  for (int64_t l = config.layers - 1; l >= options.first_layer; --l) {
    NBL_ASSIGN(BlockGradient block, block_of(l));
    Moments sums;
    const bool last = l == options.first_layer;
    for (int64_t b = 0; b < batches; ++b) {
      NBL_TRY(tick(l, true));
      NBL_ASSIGN(const float* x, stream(l).load(b));
      NBL_TRY(block.forward(x, y.data()));
      for (Activations& gradient : gradients) {
        NBL_ASSIGN(const float* from, gradient.load(b));
        Moments part;
        NBL_TRY(block.backward(from, &part, last ? nullptr : dx.data()));
        if (!last) NBL_TRY(gradient.store(b, dx.data()));
        add(std::move(part), team, &sums);
      }
    }
    for (const auto& [part, square] : sums) NBL_TRY(out.keep(l, part, square));
    streams.pop_back();
  }
  return out;
}

Status OutputMoments::keep(int64_t layer, model::Part part, const std::vector<float>& square) {
  Triangle t;
  t.n = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(square.size()))));
  t.values.reserve(static_cast<std::size_t>(t.n * (t.n + 1) / 2));
  for (int64_t i = 0; i < t.n; ++i) t.values.insert(t.values.end(), square.begin() + i * t.n, square.begin() + i * t.n + i + 1);
  if (file_) {
    t.offset = stored_bytes_;
    NBL_TRY(file_->write(t.offset, std::as_bytes(std::span(t.values))));
    stored_bytes_ += static_cast<int64_t>(t.values.size() * sizeof(float));
    t.values = {};
  }
  layers_[static_cast<std::size_t>(layer)][part] = std::move(t);
  return {};
}

Result<std::vector<float>> OutputMoments::load(int64_t layer, model::Part part) const {
  const auto& parts = layers_[static_cast<std::size_t>(layer)];
  const auto found = parts.find(part);
  if (found == parts.end()) return std::vector<float>{};
  const Triangle& t = found->second;
  std::vector<float> read;
  if (file_) {
    read.resize(static_cast<std::size_t>(t.n * (t.n + 1) / 2));
    NBL_TRY(file_->read(t.offset, std::as_writable_bytes(std::span(read))));
  }
  const float* from = file_ ? read.data() : t.values.data();
  std::vector<float> square(static_cast<std::size_t>(t.n * t.n));
  for (int64_t i = 0; i < t.n; ++i) {
    for (int64_t j = 0; j <= i; ++j, ++from) square[static_cast<std::size_t>(i * t.n + j)] = square[static_cast<std::size_t>(j * t.n + i)] = *from;
  }
  return square;
}

}  // namespace nbl::pipeline
