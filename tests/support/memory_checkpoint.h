// A checkpoint made up in memory: a tiny random Llama whose every tensor a test may change.
#pragma once

#include <map>
#include <string>

#include "base/random.h"
#include "tensor/checkpoint.h"

namespace nbl::testing {

class MemoryCheckpoint : public Checkpoint {
 public:
  struct Shape2 {
    int64_t vocab = 257, hidden = 64, ffn = 96, layers = 2, heads = 4, kv_heads = 2, positions = 256;
  };

  explicit MemoryCheckpoint(const Shape2& s, uint64_t seed = 1) {
    config_ = Json::object();
    config_.set("model_type", "llama");
    config_.set("vocab_size", s.vocab);
    config_.set("hidden_size", s.hidden);
    config_.set("intermediate_size", s.ffn);
    config_.set("num_hidden_layers", s.layers);
    config_.set("num_attention_heads", s.heads);
    config_.set("num_key_value_heads", s.kv_heads);
    config_.set("max_position_embeddings", s.positions);
    config_.set("rms_norm_eps", 1e-5);
    config_.set("rope_theta", 10000.0);
    config_.set("hidden_act", "silu");
    config_.set("tie_word_embeddings", true);
    Random random(seed);
    const int64_t d = s.hidden / s.heads;
    add("model.embed_tokens.weight", {s.vocab, s.hidden}, random, 1.0);
    for (int64_t l = 0; l < s.layers; ++l) {
      const std::string p = "model.layers." + std::to_string(l) + ".";
      add(p + "input_layernorm.weight", {s.hidden}, random, 0);
      add(p + "self_attn.q_proj.weight", {s.hidden, s.hidden}, random, 0.1);
      add(p + "self_attn.k_proj.weight", {s.kv_heads * d, s.hidden}, random, 0.1);
      add(p + "self_attn.v_proj.weight", {s.kv_heads * d, s.hidden}, random, 0.1);
      add(p + "self_attn.o_proj.weight", {s.hidden, s.hidden}, random, 0.1);
      add(p + "post_attention_layernorm.weight", {s.hidden}, random, 0);
      add(p + "mlp.gate_proj.weight", {s.ffn, s.hidden}, random, 0.1);
      add(p + "mlp.up_proj.weight", {s.ffn, s.hidden}, random, 0.1);
      add(p + "mlp.down_proj.weight", {s.hidden, s.ffn}, random, 0.1);
    }
    add("model.norm.weight", {s.hidden}, random, 0);
  }

  std::vector<float>& values(const std::string& name) { return tensors_.at(name).values; }
  void erase(const std::string& name) { tensors_.erase(name); }
  Json& mutable_config() { return config_; }

  std::string format() const override { return "memory"; }
  std::string origin() const override { return "the test's model"; }
  const Json& config() const override { return config_; }
  std::vector<TensorInfo> tensors() const override {
    std::vector<TensorInfo> list;
    for (const auto& [name, t] : tensors_)
      list.push_back({name, t.shape, "f32", 32, 0, static_cast<int64_t>(t.values.size() * 4)});
    return list;
  }
  bool has(std::string_view name) const override { return tensors_.contains(std::string(name)); }
  Result<QTensor> matrix(std::string_view name) const override {
    const auto it = tensors_.find(std::string(name));
    if (it == tensors_.end()) return Status(Code::not_found, "no tensor " + std::string(name));
    const Entry& t = it->second;
    NBL_ASSIGN(Segment segment, pack_dense(t.shape[0], t.shape[1], DType::f32, t.values.data()));
    return make_qtensor(t.shape[0], t.shape[1], std::move(segment));
  }
  Result<Array> array(std::string_view name) const override {
    const auto it = tensors_.find(std::string(name));
    if (it == tensors_.end()) return Status(Code::not_found, "no tensor " + std::string(name));
    return Array::from_f32(it->second.values, it->second.shape);
  }
  bool has_asset(std::string_view) const override { return false; }
  Result<std::string> asset(std::string_view name) const override {
    return Status(Code::not_found, "no asset " + std::string(name));
  }
  std::vector<std::string> asset_names() const override { return {}; }
  int64_t file_bytes() const override { return 0; }

 private:
  struct Entry {
    Shape shape;
    std::vector<float> values;
  };
  /// spread 0: ones with a little noise, as norm weights are.
  void add(const std::string& name, Shape shape, Random& random, double spread) {
    Entry entry;
    entry.shape = std::move(shape);
    int64_t count = 1;
    for (int64_t d : entry.shape) count *= d;
    for (int64_t i = 0; i < count; ++i) {
      entry.values.push_back(static_cast<float>(spread == 0 ? 1.0 + 0.2 * random.normal() : spread * random.normal()));
    }
    tensors_.emplace(name, std::move(entry));
  }

  Json config_;
  std::map<std::string, Entry> tensors_;
};

}  // namespace nbl::testing
