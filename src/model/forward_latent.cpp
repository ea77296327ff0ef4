// Multi-head latent attention (DeepSeek-V2, 2024, section 2.1): what is cached of a position is its latent of kv_rank components and the
// turned part of its key, the same for all heads. The up-projection never makes keys and values of it: a head's keys are W_k c, so that
// q . (W_k c) = (W_k^T q) . c, and its values W_v c, so that a sum of them is W_v times the sum of the latents.
#include <algorithm>

#include "base/checked.h"
#include "model/adapters.h"
#include "model/forward.h"

namespace nbl::model {

void absorb_latents(const Config& config, Layer& layer) {
  const Linear* up = layer.linear(Role::kv_up);
  if (up == nullptr) return;
  const QTensor& w = up->tensor();
  const int64_t rank = config.latent.kv_rank, nope = config.latent.nope_dim, vd = config.v_dim();
  const float* scale = w.input_scale.empty() ? nullptr : w.input_scale.as<float>().data();
  std::vector<float> row(static_cast<std::size_t>(w.k));
  layer.latent_keys.resize(static_cast<std::size_t>(config.heads * nope * rank));
  layer.latent_values.resize(static_cast<std::size_t>(config.heads * rank * vd));
  for (int64_t h = 0; h < config.heads; ++h) {
    for (int64_t i = 0; i < nope + vd; ++i) {
      w.dequantize_row(h * (nope + vd) + i, row.data());
      for (int64_t c = 0; scale != nullptr && c < rank; ++c) row[static_cast<std::size_t>(c)] *= scale[c];
      if (i < nope) {
        std::copy_n(row.data(), rank, layer.latent_keys.data() + (h * nope + i) * rank);
        continue;
      }
      float* column = layer.latent_values.data() + h * rank * vd + (i - nope);
      for (int64_t c = 0; c < rank; ++c) column[c * vd] = row[static_cast<std::size_t>(c)];
    }
  }
}

/// W_k^T q of one head.
void Pass::absorb_query(const Layer& layer, int64_t head, const float* q, float* out) const {
  const int64_t rank = c_.latent.kv_rank, nope = c_.latent.nope_dim, rows = nope + c_.v_dim();
  std::fill_n(out, rank, 0.0f);
  const float* w = layer.latent_keys.data() + head * nope * rank;
  for (int64_t i = 0; i < nope; ++i, w += rank)
    for (int64_t c = 0; c < rank; ++c) out[c] += q[i] * w[c];
  if (s_.adapters == nullptr) return;
  for (const LoraDelta* d : s_.adapters->of(layer.linear(Role::kv_up))) {
    float u[kMaxLoraRank];
    for (int64_t r = 0; r < d->rank; ++r) {
      u[r] = 0;
      for (int64_t i = 0; i < nope; ++i) u[r] += d->b[static_cast<std::size_t>(r * d->n + head * rows + i)] * q[i];
    }
    for (int64_t c = 0; c < rank; ++c)
      for (int64_t r = 0; r < d->rank; ++r) out[c] += d->scale * d->a[static_cast<std::size_t>(c * d->rank + r)] * u[r];
  }
}

/// W_v times a sum of latents.
void Pass::expand_value(const Layer& layer, int64_t head, const float* latent, float* out) const {
  const int64_t rank = c_.latent.kv_rank, vd = c_.v_dim(), rows = c_.latent.nope_dim + vd;
  std::fill_n(out, vd, 0.0f);
  const float* w = layer.latent_values.data() + head * rank * vd;
  for (int64_t c = 0; c < rank; ++c, w += vd)
    for (int64_t i = 0; i < vd; ++i) out[i] += latent[c] * w[i];
  if (s_.adapters == nullptr) return;
  for (const LoraDelta* d : s_.adapters->of(layer.linear(Role::kv_up))) {
    for (int64_t r = 0; r < d->rank; ++r) {
      float u = 0;
      for (int64_t c = 0; c < rank; ++c) u += d->a[static_cast<std::size_t>(c * d->rank + r)] * latent[c];
      const float* b = d->b.data() + r * d->n + head * rows + c_.latent.nope_dim;
      for (int64_t i = 0; i < vd; ++i) out[i] += d->scale * u * b[i];
    }
  }
}

/// Turns the positions' parts of keys and queries, caches the keys, and takes the queries into the latents' space.
void Pass::absorb_rows(const Layer& layer, int64_t index, int64_t cache_layer) {
  const LatentConfig& latent = c_.latent;
  const int64_t rank = latent.kv_rank, width = rank + latent.rope_dim, pairs = c_.rotary_dim / 2, d = c_.head_dim;
  const int64_t sets = static_cast<int64_t>(c_.ropes.size()), set = c_.layer[static_cast<std::size_t>(index)].rope;
  const auto turn = c_.rope == Rope::adjacent ? el_.rope_adjacent : el_.rope_half;
  // A row's key is its own task, beside those of its heads.
  const int64_t tasks = c_.heads + 1;
  const Range share = worker_.share(s_.rows * tasks);
  for (const Span& span : s_.spans) {
    for (int64_t row = span.first_row; row < span.first_row + span.rows; ++row) {
      const float* cos = w_.cos_ + (row * sets + std::max<int64_t>(set, 0)) * pairs;
      const float* sin = w_.sin_ + (row * sets + std::max<int64_t>(set, 0)) * pairs;
      const int64_t first = std::max<int64_t>(share.begin - row * tasks, 0), last = std::min(share.end - row * tasks, tasks);
      for (int64_t task = first; task < last; ++task) {
        if (task == c_.heads) {
          float* key = w_.kv_latent_ + row * width;
          if (set >= 0) turn(key + rank, cos, sin, pairs);
          span.cache->store(at_, cache_layer, 0, span.position + row - span.first_row, key, key);
          continue;
        }
        float* q = w_.qkv_ + row * w_.qkv_width_ + task * d;
        float* out = w_.latent_queries_ + (row * c_.heads + task) * width;
        if (set >= 0) turn(q + latent.nope_dim, cos, sin, pairs);
        absorb_query(layer, task, q, out);
        std::copy_n(q + latent.nope_dim, latent.rope_dim, out + rank);
      }
    }
  }
}

/// Scores and sums of latents: one key-value head, at which all heads look.
void Pass::attend_latents(int64_t index, int64_t cache_layer) {
  const LayerConfig& lc = c_.layer[static_cast<std::size_t>(index)];
  const int64_t rank = c_.latent.kv_rank, width = rank + c_.latent.rope_dim;
  const int64_t block = std::clamp<int64_t>(ceil_div(s_.rows * c_.heads, worker_.count()), 1, kernels::kAttentionQueries);
  int64_t task = 0;
  for (const Span& span : s_.spans) {
    const int64_t queries = span.rows * c_.heads;
    // Later rows see more, so they are dealt out first.
    for (int64_t b = ceil_div(queries, block) - 1; b >= 0; --b) {
      if (task++ % worker_.count() != worker_.index()) continue;
      kernels::AttentionArgs args;
      args.type = span.cache->type();
      args.head_dim = width;
      args.value_dim = rank;
      args.scale = c_.attention_scale * lc.score_factor;
      args.soft_cap = c_.score_cap;
      args.scratch = scratch_;
      args.queries = std::min(block, queries - b * block);
      for (int64_t i = 0; i < args.queries; ++i) {
        const int64_t at = span.first_row * c_.heads + b * block + i, position = span.position + (b * block + i) / c_.heads;
        args.q[i] = w_.latent_queries_ + at * width;
        args.out[i] = w_.latent_sums_ + at * rank;
        args.end[i] = position + 1;
        args.begin[i] = lc.window > 0 ? std::max<int64_t>(0, position + 1 - lc.window) : 0;
      }
      const auto cached = span.cache->view(cache_layer, 0, *std::min_element(args.begin, args.begin + args.queries),
                                           *std::max_element(args.end, args.end + args.queries), worker_.index());
      args.keys = cached.keys;
      args.values = cached.values;
      at_.attend(args);
    }
  }
}

void Pass::latent_attention(const Layer& layer, int64_t index, int64_t cache_layer) {
  const LatentConfig& latent = c_.latent;
  const bool narrow = layer.linear(Role::q_latent) != nullptr;
  const Target queries[] = {{layer.linear(Role::q), w_.qkv_, w_.qkv_width_}};
  project(queries, narrow ? w_.q_latent_ : h_, narrow ? latent.q_rank : c_.hidden, s_.rows);
  mark(Profile::qkv);
  absorb_rows(layer, index, cache_layer);
  worker_.barrier();
  mark(Profile::rope_and_cache);
  attend_latents(index, cache_layer);
  worker_.barrier();
  const int64_t vd = c_.v_dim();
  const Range share = worker_.share(s_.rows * c_.heads);
  for (int64_t at = share.begin; at < share.end; ++at)
    expand_value(layer, at % c_.heads, w_.latent_sums_ + at * latent.kv_rank, w_.heads_ + at * vd);
  worker_.barrier();
  mark(Profile::attention);
}

}  // namespace nbl::model
