// The attention half of a layer: projections, what is done to queries and keys, cache, heads.
#include <algorithm>

#include "base/checked.h"
#include "model/forward.h"

namespace nbl::model {

void Pass::attention_input(const Layer& layer) {
  const Linear* first = layer.linear(Role::qkv);
  if (first == nullptr && c_.latent.kv_rank == 0) first = layer.linear(Role::q);
  norm_and_prepare(layer.norm(Role::attn_norm), first);
  mark(Profile::norm);
}

void Pass::attention_latents(const Layer& layer) {
  const LatentConfig& latent = c_.latent;
  if (latent.kv_rank == 0) return;
  const int64_t kv_width = latent.kv_rank + latent.rope_dim;
  const Linear* queries = layer.linear(Role::q_latent);
  const Target targets[] = {{layer.linear(Role::kv_latent), w_.kv_latent_, kv_width},
                            {queries, w_.q_latent_, latent.q_rank}};
  project(std::span(targets).first(queries == nullptr ? 1 : 2), h_, c_.hidden, s_.rows);
  for (int64_t r = mine_.begin; r < mine_.end; ++r) {
    float* kv = w_.kv_latent_ + r * kv_width;
    el_.rms_norm(kv, layer.norm(Role::kv_latent_norm).w.data(), latent.kv_rank, latent.norm_eps, kv);
    float* q = w_.q_latent_ + r * latent.q_rank;
    if (queries != nullptr)
      el_.rms_norm(q, layer.norm(Role::q_latent_norm).w.data(), latent.q_rank, latent.norm_eps, q);
  }
  worker_.barrier();
}

/// Weights for each head apart, or the same for all.
void Pass::norm_head(const NormWeights& weights, int64_t head, float* x) const {
  const std::size_t d = static_cast<std::size_t>(c_.head_dim);
  norm_row(weights, weights.w.size() == d ? 0 : static_cast<std::size_t>(head) * d, x, x, c_.head_dim);
}

void Pass::adjust_rows(const Layer& layer) {
  if (c_.clip_qkv <= 0 && c_.qk_norm != QkNorm::whole) return;
  const int64_t d = c_.head_dim;
  const Range share = worker_.share(s_.rows);
  for (int64_t r = share.begin; r < share.end; ++r) {
    float* row = w_.qkv_ + r * w_.qkv_width_;
    if (c_.qk_norm == QkNorm::whole) {
      norm_row(layer.norm(Role::q_norm), 0, row, row, c_.heads * d);
      norm_row(layer.norm(Role::k_norm), 0, row + c_.heads * d, row + c_.heads * d, c_.kv_heads * d);
    }
    if (c_.clip_qkv > 0)
      for (int64_t i = 0; i < w_.qkv_width_; ++i) row[i] = std::clamp(row[i], -c_.clip_qkv, c_.clip_qkv);
  }
  worker_.barrier();
}

void Pass::store_head(const Layer& layer, int64_t index, int64_t cache_layer, int64_t head, int64_t begin, int64_t end) {
  const LayerConfig& lc = c_.layer[static_cast<std::size_t>(index)];
  const int64_t group = c_.heads / c_.kv_heads, pairs = c_.rotary_dim / 2;
  const int64_t sets = static_cast<int64_t>(c_.ropes.size());
  const auto turn = c_.rope == Rope::adjacent ? el_.rope_adjacent : el_.rope_half;
  for (const Span& span : s_.spans) {
    const int64_t last = std::min(end, span.first_row + span.rows);
    for (int64_t row = std::max(begin, span.first_row); row < last; ++row) {
      float* qkv = w_.qkv_ + row * w_.qkv_width_;
      float* key = qkv + w_.k_offset_[static_cast<std::size_t>(head)];
      if (c_.qk_norm == QkNorm::per_head) {
        norm_head(layer.norm(Role::k_norm), head, key);
        for (int64_t g = 0; g < group; ++g)
          norm_head(layer.norm(Role::q_norm), head * group + g,
                    qkv + w_.q_offset_[static_cast<std::size_t>(head * group + g)]);
      }
      if (lc.rope >= 0) {
        const float* cos = w_.cos_ + (row * sets + lc.rope) * pairs;
        const float* sin = w_.sin_ + (row * sets + lc.rope) * pairs;
        turn(key, cos, sin, pairs);
        for (int64_t g = 0; g < group; ++g)
          turn(qkv + w_.q_offset_[static_cast<std::size_t>(head * group + g)] , cos, sin, pairs);
      }
      const int64_t position = span.position + row - span.first_row;
      span.cache->store(at_, cache_layer, head, position, key, qkv + w_.v_offset_[static_cast<std::size_t>(head)]);
    }
  }
}

void Pass::store_and_rotate(const Layer& layer, int64_t index, int64_t cache_layer) {
  // A worker takes whole heads where there are several, so that neighbours in a tile of keys are its own.
  const Range share = worker_.share(c_.kv_heads * s_.rows);
  for (int64_t head = 0; head < c_.kv_heads; ++head) {
    const int64_t base = head * s_.rows;
    store_head(layer, index, cache_layer, head, std::max<int64_t>(share.begin - base, 0), std::min(share.end - base, s_.rows));
  }
}

/// The largest block of queries that keeps all workers about equally busy: a block costs reading the keys once, and
/// something for each query.
int64_t Pass::queries_a_task() const {
  const int64_t group = c_.heads / c_.kv_heads, workers = worker_.count();
  int64_t best = kernels::kAttentionQueries, best_cost = -1;
  for (int64_t q = kernels::kAttentionQueries; q >= 1; q /= 2) {
    int64_t tasks = 0;
    for (const Span& span : s_.spans) tasks += ceil_div(span.rows * group, q) * c_.kv_heads;
    const int64_t cost = ceil_div(tasks, workers) * (2 + std::min(q, s_.rows * group));
    if (best_cost < 0 || cost < best_cost) {
      best = q;
      best_cost = cost;
    }
  }
  return best;
}

/// One token's heads that share keys are one worker's task.
bool Pass::whole_heads(int64_t block) const { return s_.rows == 1 && block >= c_.heads / c_.kv_heads; }

Upcoming Pass::upcoming_heads(const Layer& layer, int64_t index, int64_t cache_layer, int64_t head) const {
  const Span& span = s_.spans[0];
  const int64_t end = span.position + 1, window = c_.layer[static_cast<std::size_t>(index)].window;
  const int64_t begin = window > 0 ? std::max<int64_t>(0, end - window) / kernels::kAttentionBlock * kernels::kAttentionBlock : 0;
  KvCache::Place place;
  // A short context is over before fetching it ahead pays.
  if (head < c_.kv_heads && end - begin >= 2 * kernels::kAttentionBlock) place = span.cache->place(cache_layer, head, begin, end);
  if (place.keys == nullptr) return upcoming(layer.linear(Role::attn_out));
  const auto lines = [](const std::byte* p) { return reinterpret_cast<const uint8_t*>(p); };
  return {{lines(place.keys), lines(place.values), nullptr}, {lines(place.keys), place.key_bytes}};
}

void Pass::attend(const Layer& layer, int64_t index, int64_t cache_layer, int64_t block) {
  const LayerConfig& lc = c_.layer[static_cast<std::size_t>(index)];
  const int64_t window = lc.window, vd = c_.v_dim();
  const int64_t group = c_.heads / c_.kv_heads, d = c_.head_dim, width = c_.heads * vd;
  const bool whole = whole_heads(block);
  int64_t task = 0;
  for (const Span& span : s_.spans) {
    // Query rows of a key-value head: the group's heads of the first token, then of the next. Later ones see more, so
    // they are dealt out first.
    const int64_t queries = span.rows * group, blocks = ceil_div(queries, block);
    for (int64_t b = blocks - 1; b >= 0; --b) {
      for (int64_t head = 0; head < c_.kv_heads; ++head) {
        if (task++ % worker_.count() != worker_.index()) continue;
        kernels::AttentionArgs args;
        args.type = span.cache->type();
        args.head_dim = d;
        args.value_dim = vd;
        args.scale = c_.attention_scale * lc.score_factor;
        args.soft_cap = c_.score_cap;
        args.has_slope = !c_.slopes.empty();
        args.scratch = scratch_;
        args.queries = std::min(block, queries - b * block);
        for (int64_t i = 0; i < args.queries; ++i) {
          const int64_t r = (b * block + i) / group, h = head * group + (b * block + i) % group;
          const int64_t row = span.first_row + r, position = span.position + r;
          args.q[i] = w_.qkv_ + row * w_.qkv_width_ + w_.q_offset_[static_cast<std::size_t>(h)];
          args.out[i] = w_.heads_ + row * width + h * vd;
          if (args.has_slope) args.slope[i] = c_.slopes[static_cast<std::size_t>(h)];
          args.end[i] = position + 1;
          args.begin[i] = window > 0 ? std::max<int64_t>(0, position + 1 - window) : 0;
        }
        const auto cached = span.cache->view(cache_layer, head, *std::min_element(args.begin, args.begin + args.queries),
                                             *std::max_element(args.end, args.end + args.queries), worker_.index());
        args.keys = cached.keys;
        args.values = cached.values;
        if (whole) {
          const Upcoming next = upcoming_heads(layer, index, cache_layer, head + worker_.count());
          args.next_keys = next.lines.codes;
          args.next_values = next.lines.scales;
        }
        at_.attend(args);
      }
    }
  }
}

void Pass::attention(const Layer& layer, int64_t index, int64_t cache_layer) {
  if (c_.latent.kv_rank > 0) return latent_attention(layer, index, cache_layer);
  if (s_.rows == 1)
    for (int64_t head = worker_.index(); head < c_.kv_heads; head += worker_.count())
      s_.spans[0].cache->prefetch(cache_layer, head, s_.spans[0].position);
  const int64_t d = c_.head_dim, ld = w_.qkv_width_, block = queries_a_task();
  const bool whole = whole_heads(block);
  const Upcoming next =
      whole ? upcoming_heads(layer, index, cache_layer, worker_.index()) : upcoming(layer.linear(Role::attn_out));
  if (const Linear* qkv = layer.linear(Role::qkv)) {
    const Target targets[] = {{qkv, w_.qkv_, ld}};
    project(targets, h_, c_.hidden, s_.rows, next);
  } else {
    const Target targets[] = {{layer.linear(Role::q), w_.qkv_, ld},
                              {layer.linear(Role::k), w_.qkv_ + c_.heads * d, ld},
                              {layer.linear(Role::v), w_.qkv_ + (c_.heads + c_.kv_heads) * d, ld}};
    project(targets, h_, c_.hidden, s_.rows, next);
  }
  adjust_rows(layer);
  mark(Profile::qkv);
  if (whole) {
    // Who attends with a head also caches it, so nobody has to wait.
    for (int64_t head = worker_.index(); head < c_.kv_heads; head += worker_.count())
      store_head(layer, index, cache_layer, head, 0, 1);
  } else {
    store_and_rotate(layer, index, cache_layer);
    worker_.barrier();
  }
  mark(Profile::rope_and_cache);
  attend(layer, index, cache_layer, block);
  meet(layer.linear(Role::attn_out));
  mark(Profile::attention);
}

void Pass::attention_output(const Layer& layer) {
  const Target targets[] = {{layer.linear(Role::attn_out), w_.y_, c_.hidden}};
  const Linear* next = layer.linear(Role::gate_up);
  if (next == nullptr) next = layer.linear(Role::gate);
  project(targets, w_.heads_, c_.heads * c_.v_dim(), s_.rows, next != nullptr ? next : layer.linear(Role::up));
  add_residual(layer, Role::attn_post_norm, Role::attn_norm);
  mark(Profile::attention_out);
}

}  // namespace nbl::model
