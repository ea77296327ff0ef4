#include "model/step_work.h"

#include <algorithm>

#include "model/weights.h"

namespace nbl::model {

void StepWork::add(const Model& model, std::span<const Rows> sequences, int64_t outputs) noexcept {
  const Model::Impl& m = model.impl();
  const Config& c = m.config;
  const auto product = [&](const Linear* linear, Profile::Op op, int64_t times) {
    if (linear == nullptr || times == 0) return;
    bytes[op] += linear->weight_bytes();
    operations[op] += 2 * linear->n() * linear->k() * times;
  };
  const int64_t element = m.compute.compute == Compute::exact ? 4 : 2;
  int64_t rows = 0;
  for (const Rows& sequence : sequences) rows += sequence.rows;
  for (std::size_t l = 0; l < m.weights.layers.size(); ++l) {
    const Layer& layer = m.weights.layers[l];
    for (const Role role : {Role::q, Role::k, Role::v, Role::qkv}) product(layer.linear(role), Profile::qkv, rows);
    product(layer.linear(Role::attn_out), Profile::attention_out, rows);
    for (const Role role : {Role::gate, Role::up, Role::gate_up}) product(layer.linear(role), Profile::mlp_in, rows);
    product(layer.linear(Role::down), Profile::mlp_out, rows);
    const int64_t window = c.layer[l].window;
    const auto seen = [&](int64_t p) { return window > 0 ? std::min(window, p + 1) : p + 1; };
    const int64_t cached = c.latent.kv_rank > 0 ? 2 * c.latent.kv_rank + c.latent.rope_dim : 2 * c.kv_heads * c.head_dim;
    for (const Rows& s : sequences) {
      const int64_t last = s.position + s.rows - 1;
      bytes[Profile::attention] += cached * element * std::min(last + 1, seen(last) + s.rows - 1);
      for (int64_t p = s.position; p <= last; ++p) operations[Profile::attention] += 4 * c.heads * c.head_dim * seen(p);
    }
  }
  if (m.weights.lm_head) product(&*m.weights.lm_head, Profile::logits, outputs);
}

}  // namespace nbl::model
