// A checkpoint that exists only in memory, with random weights: what the model layer is tested with before any file.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "model/arch.h"
#include "tensor/checkpoint.h"

namespace nbl::model::test {

class MemoryCheckpoint : public Checkpoint {
 public:
  MemoryCheckpoint(Json config, uint64_t seed) : config_(std::move(config)) {
    auto arch = find_architecture(config_, origin());
    if (!arch.ok()) return;
    auto read = (*arch)->read_config(config_, origin());
    if (!read.ok()) return;
    Random random(seed);
    for (const TensorSpec& spec : (*arch)->tensors) {
      if (spec.role == Role::lm_head && read->tied_embeddings) continue;
      const int64_t layers = is_layer_role(spec.role) ? read->layers : 1;
      for (int64_t l = 0; l < layers; ++l) fill(random, spec, *read, l);
    }
  }

  struct Tensor {
    Shape shape;
    std::vector<float> values;
  };
  std::map<std::string, Tensor> tensors_by_name;
  std::map<std::string, std::string> assets;
  /// Optional biases are made too.
  static constexpr bool kOptionalBiases = true;

  std::string format() const override { return "memory"; }
  std::string origin() const override { return "memory"; }
  const Json& config() const override { return config_; }
  Json& mutable_config() { return config_; }
  std::vector<TensorInfo> tensors() const override { return {}; }
  bool has(std::string_view name) const override { return tensors_by_name.count(std::string(name)) > 0; }
  Result<QTensor> matrix(std::string_view name) const override {
    const Tensor& t = tensors_by_name.at(std::string(name));
    if (t.shape.size() != 2) return Status(Code::mismatch, "not a matrix");
    NBL_ASSIGN(Segment segment, pack_dense(t.shape[0], t.shape[1], DType::f32, t.values.data()));
    return make_qtensor(t.shape[0], t.shape[1], std::move(segment));
  }
  Result<Array> array(std::string_view name) const override {
    const Tensor& t = tensors_by_name.at(std::string(name));
    return Array::from_f32(t.values, t.shape);
  }
  bool has_asset(std::string_view name) const override { return assets.count(std::string(name)) > 0; }
  Result<std::string> asset(std::string_view name) const override { return assets.at(std::string(name)); }
  std::vector<std::string> asset_names() const override { return {}; }
  int64_t file_bytes() const override { return 0; }

 private:
  void fill(Random& random, const TensorSpec& spec, const Config& config, int64_t layer) {
    const int64_t rows = *dimension(spec.rows, config);
    Tensor weight;
    if (spec.cols.empty()) {
      weight.shape = {rows};
      for (int64_t i = 0; i < rows; ++i) weight.values.push_back(static_cast<float>(1 + 0.3 * random.normal()));
    } else {
      const int64_t cols = *dimension(spec.cols, config);
      weight.shape = {rows, cols};
      const double scale = spec.role == Role::embedding || spec.role == Role::position_embedding
                               ? 0.7
                               : 1.5 / std::sqrt(static_cast<double>(cols));
      for (int64_t i = 0; i < rows * cols; ++i) weight.values.push_back(static_cast<float>(scale * random.normal()));
    }
    tensors_by_name[tensor_name(spec, layer, "weight")] = std::move(weight);
    if (!spec.has_bias) return;
    Tensor bias;
    bias.shape = {rows};
    for (int64_t i = 0; i < rows; ++i) bias.values.push_back(static_cast<float>(0.2 * random.normal()));
    tensors_by_name[tensor_name(spec, layer, "bias")] = std::move(bias);
  }

  Json config_;
};

inline Json parse(std::string_view text) { return *Json::parse(text, "test"); }

/// Small, with sizes that divide by nothing convenient.
inline Json llama_config() {
  return parse(R"({"model_type":"llama","vocab_size":101,"hidden_size":60,"intermediate_size":100,"num_hidden_layers":3,
    "num_attention_heads":6,"num_key_value_heads":2,"max_position_embeddings":1024,"rms_norm_eps":1e-5,
    "rope_theta":10000.0,"hidden_act":"silu","tie_word_embeddings":true,"bos_token_id":1,"eos_token_id":2})");
}
inline Json bigcode_config(bool multi_query) {
  Json c = parse(R"({"model_type":"gpt_bigcode","vocab_size":97,"n_embd":56,"n_inner":120,"n_layer":2,"n_head":4,
    "n_positions":600,"layer_norm_epsilon":1e-5,"activation_function":"gelu_pytorch_tanh","eos_token_id":0})");
  c.set("multi_query", Json(multi_query));
  return c;
}
/// The kinds of model that every property is checked on.
inline std::vector<std::pair<std::string, Json>> model_kinds() {
  std::vector<std::pair<std::string, Json>> kinds;
  kinds.emplace_back("llama", llama_config());
  Json mistral = llama_config();
  mistral.set("model_type", "mistral").is_string();
  mistral.set("sliding_window", 7);
  mistral.set("head_dim", 20);
  mistral.set("tie_word_embeddings", false);
  kinds.emplace_back("mistral", mistral);
  Json qwen = llama_config();
  qwen.set("model_type", "qwen2");
  qwen.set("use_sliding_window", true);
  qwen.set("sliding_window", 5);
  qwen.set("max_window_layers", 1);
  kinds.emplace_back("qwen2", qwen);
  Json scaled = llama_config();
  scaled.set("rope_scaling", parse(R"({"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
    "original_max_position_embeddings":64})"));
  kinds.emplace_back("llama3 scaling", scaled);
  kinds.emplace_back("bigcode multi-query", bigcode_config(true));
  kinds.emplace_back("bigcode multi-head", bigcode_config(false));
  return kinds;
}

}  // namespace nbl::model::test
