// The forward pass in double precision, written straight from the formulas and from nothing of the library but the
// names of the tensors: the independent opinion on the real one.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "memory_checkpoint.h"

namespace nbl::model::test {

using Row = std::vector<double>;

class ReferenceModel {
 public:
  ReferenceModel(const MemoryCheckpoint& checkpoint, const Config& config, const Architecture& arch)
      : checkpoint_(checkpoint), c_(config), arch_(arch) {}

  /// Residual stream of every token after `layers` layers (all by default), then logits.
  std::vector<Row> hidden(const std::vector<text::TokenId>& ids, int64_t layers) const {
    std::vector<Row> x;
    for (std::size_t t = 0; t < ids.size(); ++t) {
      Row row = row_of(weight(Role::embedding, 0), ids[t]);
      if (arch_.find(Role::position_embedding) != nullptr)
        add(row, row_of(weight(Role::position_embedding, 0), static_cast<int64_t>(t)));
      x.push_back(row);
    }
    for (int64_t l = 0; l < layers; ++l) run(x, l);
    return x;
  }
  std::vector<Row> logits(const std::vector<text::TokenId>& ids) const {
    std::vector<Row> out;
    for (const Row& row : hidden(ids, c_.layers)) {
      const Row n = norm(Role::final_norm, 0, row);
      out.push_back(times(weight(c_.tied_embeddings ? Role::embedding : Role::lm_head, 0), n));
    }
    return out;
  }

 private:
  using Tensor = MemoryCheckpoint::Tensor;
  const Tensor* find(Role role, int64_t layer, const char* suffix) const {
    const TensorSpec* spec = arch_.find(role);
    if (spec == nullptr) return nullptr;
    const auto it = checkpoint_.tensors_by_name.find(tensor_name(*spec, layer, suffix));
    return it == checkpoint_.tensors_by_name.end() ? nullptr : &it->second;
  }
  const Tensor& weight(Role role, int64_t layer) const { return *find(role, layer, "weight"); }
  static Row row_of(const Tensor& t, int64_t row) {
    const int64_t k = t.shape[1];
    return Row(t.values.begin() + row * k, t.values.begin() + (row + 1) * k);
  }
  static Row times(const Tensor& t, const Row& x) {
    Row y;
    for (int64_t r = 0; r < t.shape[0]; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < t.shape[1]; ++c)
        sum += t.values[static_cast<std::size_t>(r * t.shape[1] + c)] * x[static_cast<std::size_t>(c)];
      y.push_back(sum);
    }
    return y;
  }
  static void add(Row& x, const Row& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }
  Row linear(Role role, int64_t layer, const Row& x) const {
    Row y = times(weight(role, layer), x);
    if (const Tensor* bias = find(role, layer, "bias")) add(y, Row(bias->values.begin(), bias->values.end()));
    return y;
  }
  Row norm(Role role, int64_t layer, const Row& x) const {
    const Tensor& w = weight(role, layer);
    const Tensor* b = find(role, layer, "bias");
    double mean = 0, square = 0;
    const double n = static_cast<double>(x.size());
    if (c_.norm == Norm::layer)
      for (double v : x) mean += v / n;
    for (double v : x) square += (v - mean) * (v - mean) / n;
    Row y;
    for (std::size_t i = 0; i < x.size(); ++i)
      y.push_back((x[i] - mean) / std::sqrt(square + static_cast<double>(c_.norm_eps)) * w.values[i] +
                  (b != nullptr ? b->values[i] : 0.0));
    return y;
  }
  double act(double x) const {
    switch (c_.activation) {
      case Activation::silu:
        return x / (1 + std::exp(-x));
      case Activation::gelu_tanh:
        return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      case Activation::gelu_erf:
        return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
      case Activation::relu:
        return std::max(x, 0.0);
      default:
        break;  // not among the kinds of model_kinds()
    }
    return 0;
  }
  Row rope(const Row& head, int64_t position, int64_t layer) const {
    const int32_t set = c_.layer[static_cast<std::size_t>(layer)].rope;
    if (c_.rope == Rope::none || set < 0) return head;
    Row out = head;
    const std::size_t half = static_cast<std::size_t>(c_.rotary_dim / 2);
    for (std::size_t i = 0; i < half; ++i) {
      const double a =
          static_cast<double>(position) * static_cast<double>(c_.ropes[static_cast<std::size_t>(set)].inv_freq[i]);
      out[i] = head[i] * std::cos(a) - head[i + half] * std::sin(a);
      out[i + half] = head[i + half] * std::cos(a) + head[i] * std::sin(a);
    }
    return out;
  }
  /// Splits the projections of one token into heads: q, then k, then v.
  void heads(const Row& x, int64_t layer, int64_t position, std::vector<Row>& q, std::vector<Row>& k,
             std::vector<Row>& v) const {
    const int64_t d = c_.head_dim;
    const auto piece = [&](const Row& row, int64_t index) {
      return Row(row.begin() + index * d, row.begin() + (index + 1) * d);
    };
    if (arch_.find(Role::qkv) == nullptr) {
      const Row rq = linear(Role::q, layer, x), rk = linear(Role::k, layer, x), rv = linear(Role::v, layer, x);
      for (int64_t h = 0; h < c_.heads; ++h) q.push_back(piece(rq, h));
      for (int64_t h = 0; h < c_.kv_heads; ++h) k.push_back(piece(rk, h)), v.push_back(piece(rv, h));
    } else {
      const Row row = linear(Role::qkv, layer, x);
      for (int64_t h = 0; h < c_.heads; ++h) q.push_back(piece(row, c_.kv_heads == 1 ? h : 3 * h));
      for (int64_t h = 0; h < c_.kv_heads; ++h) {
        k.push_back(piece(row, c_.kv_heads == 1 ? c_.heads : 3 * h + 1));
        v.push_back(piece(row, c_.kv_heads == 1 ? c_.heads + 1 : 3 * h + 2));
      }
    }
    for (Row& head : q) head = rope(head, position, layer);
    for (Row& head : k) head = rope(head, position, layer);
  }
  void run(std::vector<Row>& x, int64_t layer) const {
    const std::size_t n = x.size();
    std::vector<std::vector<Row>> q(n), k(n), v(n);
    for (std::size_t t = 0; t < n; ++t)
      heads(norm(Role::attn_norm, layer, x[t]), layer, static_cast<int64_t>(t), q[t], k[t], v[t]);
    const int64_t window = c_.layer[static_cast<std::size_t>(layer)].window;
    for (std::size_t t = 0; t < n; ++t) {
      Row joined;
      for (int64_t h = 0; h < c_.heads; ++h) {
        const std::size_t kv = static_cast<std::size_t>(h / (c_.heads / c_.kv_heads));
        const std::size_t first =
            window > 0 && static_cast<int64_t>(t) >= window ? t + 1 - static_cast<std::size_t>(window) : 0;
        Row score;
        for (std::size_t p = first; p <= t; ++p) {
          double s = 0;
          for (std::size_t i = 0; i < k[p][kv].size(); ++i) s += q[t][static_cast<std::size_t>(h)][i] * k[p][kv][i];
          score.push_back(s * static_cast<double>(c_.attention_scale));
        }
        const double top = *std::max_element(score.begin(), score.end());
        double total = 0;
        for (double& s : score) total += s = std::exp(s - top);
        Row out(static_cast<std::size_t>(c_.head_dim));
        for (std::size_t p = first; p <= t; ++p)
          for (std::size_t i = 0; i < out.size(); ++i) out[i] += score[p - first] / total * v[p][kv][i];
        joined.insert(joined.end(), out.begin(), out.end());
      }
      add(x[t], linear(Role::attn_out, layer, joined));
    }
    for (Row& row : x) {
      const Row h = norm(Role::mlp_norm, layer, row);
      Row inner;
      if (c_.gated_mlp) {
        const Row gate = linear(Role::gate, layer, h);
        inner = linear(Role::up, layer, h);
        for (std::size_t i = 0; i < inner.size(); ++i) inner[i] *= act(gate[i]);
      } else {
        inner = linear(Role::up, layer, h);
        for (double& a : inner) a = act(a);
      }
      add(row, linear(Role::down, layer, inner));
    }
  }

  const MemoryCheckpoint& checkpoint_;
  const Config& c_;
  const Architecture& arch_;
};

}  // namespace nbl::model::test
