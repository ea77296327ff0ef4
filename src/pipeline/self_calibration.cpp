// Calibration text that the model writes itself: samples of its own distribution, when nobody has a better text.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/hash.h"
#include "base/random.h"
#include "model/model.h"
#include "model/sampler.h"
#include "pipeline/pipeline.h"

namespace nbl::pipeline {
namespace {

constexpr int64_t kTogether = 32;  ///< sequences that are written side by side

/// Why a model's logits are not finite: the first weight that is not, or what can be said without one.
Status blame(const Checkpoint& checkpoint) {
  for (const TensorInfo& info : checkpoint.tensors()) {
    NBL_ASSIGN(const Array array, checkpoint.array(info.name));
    NBL_ASSIGN(const std::vector<float> values, array.to_f32());
    const auto bad = std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    if (bad == values.end()) continue;
    const int64_t at = bad - values.begin(), columns = array.shape.empty() ? 1 : std::max<int64_t>(array.shape.back(), 1);
    return {Code::corrupt, fmt::format("{}: tensor {} holds {} at row {}, column {}; finite weights were expected",
                                       checkpoint.origin(), info.name, *bad, at / columns, at % columns)};
  }
  return {Code::corrupt, fmt::format("{}: the model cannot write its own calibration text, its logits are not finite; give it a "
                                     "text",
                                     checkpoint.origin())};
}

}  // namespace

Result<Calibration> write_calibration(const Checkpoint& checkpoint, int64_t windows, int64_t length, uint64_t seed,
                                      Compute compute, Team& team, const ProgressFn& progress) {
  if (windows < 1 || length < 2) {
    return Status(Code::invalid_argument,
                  fmt::format("calibration needs at least 1 window of 2 tokens, asked for {} of {}", windows, length));
  }
  model::ModelOptions options;
  options.compute = {compute, best_isa()};
  NBL_ASSIGN(const std::shared_ptr<const model::Model> model, model::Model::load(checkpoint, options, team, progress));
  const model::Config& config = model->config();
  if (config.max_positions > 0) length = std::min(length, config.max_positions);

  Calibration c;
  c.source = "self";
  c.windows = windows;
  c.length = length;
  c.ids.resize(static_cast<std::size_t>(windows * length));
  NBL_ASSIGN(const auto batch, model::Batch::create(model, team, std::min(kTogether, windows)));
  for (int64_t first = 0; first < windows; first += kTogether) {
    const int64_t count = std::min(kTogether, windows - first);
    std::vector<std::unique_ptr<model::Session>> sessions;
    std::vector<model::Session*> pointers;
    std::vector<std::unique_ptr<model::Sampler>> samplers;
    std::vector<text::TokenId> tokens;
    for (int64_t i = 0; i < count; ++i) {
      NBL_ASSIGN(auto session, model::Session::create(model, team, length));
      pointers.push_back(session.get());
      sessions.push_back(std::move(session));
      // Each window has its own chance, so that the text does not depend on how many are written together.
      Random random(seed * 1000003u + static_cast<uint64_t>(first + i));
      model::SamplingOptions sampling;
      sampling.temperature = 1;
      sampling.seed = random.below(uint64_t{1} << 62);
      samplers.push_back(std::make_unique<model::Sampler>(sampling));
      tokens.push_back(config.bos >= 0 && config.bos < config.vocab
                           ? config.bos
                           : static_cast<text::TokenId>(random.below(static_cast<uint64_t>(config.vocab))));
    }
    for (int64_t t = 0; t < length; ++t) {
      for (int64_t i = 0; i < count; ++i)
        c.ids[static_cast<std::size_t>((first + i) * length + t)] = tokens[static_cast<std::size_t>(i)];
      if (t + 1 == length) break;
      if (t % 16 == 0) {
        NBL_TRY(report_progress(progress, {"write calibration text", fmt::format("window {} of {}", first, windows),
                                           first * length + t * count, windows * length}));
      }
      NBL_ASSIGN(const std::span<const float> logits, batch->step(pointers, tokens));
      for (int64_t i = 0; i < count; ++i) {
        const auto token = samplers[static_cast<std::size_t>(i)]->sample(
            logits.subspan(static_cast<std::size_t>(i * config.vocab), static_cast<std::size_t>(config.vocab)));
        if (!token.ok()) return blame(checkpoint);
        tokens[static_cast<std::size_t>(i)] = *token;
      }
    }
  }
  c.text_tokens = windows * length;
  if (const text::Tokenizer* tokenizer = model->tokenizer(); tokenizer != nullptr) {
    if (const auto text = tokenizer->decode(c.ids, false); text.ok())
      c.text_sha256 = sha256_hex(std::as_bytes(std::span(text->data(), text->size())));
  }
  return c;
}

}  // namespace nbl::pipeline
