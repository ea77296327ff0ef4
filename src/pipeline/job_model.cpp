#include <fmt/format.h>

#include <algorithm>

#include "dialects/recode.h"
#include "pipeline/job.h"
#include "pipeline/model_tuner.h"

namespace nbl::pipeline {
namespace {

/// The codes of a tensor that is nothing but affine codes in natural column order; else nothing.
std::optional<quant::AffineCodes> plain_codes(const QTensor& t, Team& team) {
  if (t.segments.size() != 1 || !t.column_order.empty() || !t.input_scale.empty() || t.outliers || t.input_rounding) return {};
  const Segment& s = t.segments.front();
  if (s.encoding != Encoding::affine || (s.zero_kind != ZeroKind::symmetric && s.zero_kind != ZeroKind::code) || s.scale_codes || s.zero_codes)
    return {};
  quant::GridRule rule;
  rule.bits = s.bits;
  rule.symmetric = s.zero_kind == ZeroKind::symmetric;
  rule.scale_type = s.scale_type;
  quant::AffineCodes codes = quant::AffineCodes::create(t.n, t.k, s.group_size, rule);
  team.parallel_for(t.n, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      t.unpack_row_codes(r, codes.codes.data() + r * t.k);
      for (int64_t g = 0; g < codes.groups(); ++g) {
        const std::size_t at = static_cast<std::size_t>(r * codes.groups() + g);
        codes.scales[at] = dialects::scale_at(s, r, g);
        if (!codes.symmetric) codes.zeros[at] = dialects::zero_at(s, r, g);
      }
    }
  });
  return codes;
}

}  // namespace

/// Learns codes, scales and norms of all layers together, then writes them.
Status Job::learn_model() {
  std::vector<TunedLayer> layers(static_cast<std::size_t>(config_.layers));
  for (int64_t l = 0; l < config_.layers; ++l) {
    NBL_ASSIGN(layers[static_cast<std::size_t>(l)].weights, model::load_layer(input_, *arch_, config_, l));
  }
  for (const Held& h : held_) {
    TunedLayer& layer = layers[static_cast<std::size_t>(h.layer)];
    if (auto codes = plain_codes(h.tensor, team_)) {
      layer.codes.emplace(h.part, std::move(*codes));
    } else {
      restore(h.tensor, team_, &layer.weights.matrices.at(h.part));
    }
  }
  NBL_TRY(streams_->start_again(input_, options_.calibration.ids));
  ModelTuneData data;
  data.batch_windows = streams_->batch_windows(0);
  data.batches = streams_->batches() - (streams_->batch_windows(streams_->batches() - 1) < data.batch_windows ? 1 : 0);
  data.length = options_.calibration.length;
  data.load = [&](int64_t batch, float* embedded, float* original) { return streams_->load_ends(batch, embedded, original); };
  ModelTuneOptions tune;
  tune.learning = model_learning_;
  tune.seed = options_.seed;
  tune.compute = options_.compute;
  NBL_ASSIGN(const ModelTuneResult result,
             tune_model(input_, *arch_, config_, data, tune, team_,
                        [&](int64_t s, int64_t steps) { return tick("learn", fmt::format("the whole model, step {} of {}", s, steps)); }, &layers));
  if (options_.log) options_.log(result.note);
  for (const Held& h : held_) {
    const auto& codes = layers[static_cast<std::size_t>(h.layer)].codes;
    const auto learned = codes.find(h.part);
    if (learned == codes.end()) {
      NBL_TRY(writer_->add_matrix(h.name, h.tensor));
      continue;
    }
    NBL_ASSIGN(Segment segment, learned->second.pack());
    NBL_TRY(writer_->add_matrix(h.name, make_qtensor(h.tensor.n, h.tensor.k, std::move(segment))));
    for (LayerReport& r : report_.layers)
      if (r.name == h.name) r.notes.push_back("codes and scales then learned with the whole model");
  }
  if (model_learning_.norm_rate <= 0) return {};
  const auto put_norm = [&](model::Role role, int64_t l, std::vector<float> w) -> Status {
    const model::TensorSpec& spec = *arch_->find(role, config_);
    if (!is_learned_norm(spec)) return {};
    const std::string name = model::tensor_name(spec, l, "weight");
    for (float& v : w) v -= config_.norm_offset;
    NBL_ASSIGN(const Array array, Array::from_f32(w, {static_cast<int64_t>(w.size())}));
    written_.insert(name);
    return writer_->add_array(name, array);
  };
  for (int64_t l = 0; l < config_.layers; ++l) {
    for (auto& [role, norm] : layers[static_cast<std::size_t>(l)].weights.norms) NBL_TRY(put_norm(role, l, norm.w));
  }
  return put_norm(model::Role::final_norm, 0, result.final_norm);
}

}  // namespace nbl::pipeline
