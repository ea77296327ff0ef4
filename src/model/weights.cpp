#include "model/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "model/weight_arena.h"

namespace nbl::model {
namespace {

Status wrong_shape(const Checkpoint& c, std::string_view name, const Shape& found, const Shape& expected) {
  return Status(Code::mismatch, fmt::format("{}: tensor {} has shape {}, expected {}", c.origin(), name,
                                            shape_string(found), shape_string(expected)));
}

Status absent(const Checkpoint& c, std::string_view name, const Shape& expected) {
  return Status(Code::not_found,
                fmt::format("{}: tensor {} is missing, expected shape {}", c.origin(), name, shape_string(expected)));
}

bool all_zero(const std::vector<float>& bias) {
  return std::all_of(bias.begin(), bias.end(), [](float b) { return b == 0; });
}

/// The key by which config.json says that a linear has no bias; empty when it does not say so. What it denies, the original
/// passes over.
std::string_view bias_denied(const Checkpoint& checkpoint, const TensorSpec& spec) {
  const Role role = spec.role;
  const bool input = role == Role::q || role == Role::k || role == Role::v || role == Role::qkv;
  const bool mlp = role == Role::gate || role == Role::up || role == Role::gate_up || role == Role::down;
  if (!input && !mlp && role != Role::attn_out) return {};
  const Json& whole = checkpoint.config();
  const Json* text = whole.find_value("text_config");
  const Json& config = text != nullptr && text->is_object() ? *text : whole;
  for (const std::string_view key : {"attention_bias", "qkv_bias", "mlp_bias"}) {
    if (mlp != (key == "mlp_bias") || (key == "qkv_bias" && !input)) continue;
    const Json* value = config.find_value(key);
    if (value != nullptr && value->is_bool() && !value->as_bool()) return key;
  }
  return {};
}

}  // namespace

Result<std::vector<float>> load_vector(const Checkpoint& checkpoint, std::string_view name, int64_t size) {
  if (!checkpoint.has(name)) return absent(checkpoint, name, {size});
  NBL_ASSIGN(const Array array, checkpoint.array(name));
  if (array.shape != Shape{size}) return wrong_shape(checkpoint, name, array.shape, {size});
  NBL_ASSIGN(std::vector<float> values, array.to_f32());
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      return Status(Code::corrupt, fmt::format("{}: tensor {} holds {} at [{}], expected finite numbers",
                                               checkpoint.origin(), name, values[i], i));
  return values;
}

Result<NormWeights> load_norm(const Checkpoint& checkpoint, const TensorSpec& spec, const Config& config,
                              int64_t layer) {
  NormWeights norm;
  NBL_ASSIGN(const int64_t size, dimension(spec.rows, config));
  if (spec.pattern.empty()) {
    norm.w.assign(static_cast<std::size_t>(size), 1.0f);
    return norm;
  }
  const std::string name = tensor_name(spec, layer, "weight");
  const std::size_t head = name.find("{h}");
  if (!spec.per_head) {
    NBL_ASSIGN(norm.w, load_vector(checkpoint, name, size));
  } else if (head == std::string::npos) {
    // One row a head.
    if (!checkpoint.has(name)) return absent(checkpoint, name, {size / config.head_dim, config.head_dim});
    NBL_ASSIGN(const Array array, checkpoint.array(name));
    if (array.shape != Shape{size / config.head_dim, config.head_dim})
      return wrong_shape(checkpoint, name, array.shape, {size / config.head_dim, config.head_dim});
    NBL_ASSIGN(norm.w, array.to_f32());
  } else {
    for (int64_t h = 0; h < size / config.head_dim; ++h) {
      std::string one = name;
      one.replace(head, 3, std::to_string(h));
      NBL_ASSIGN(const std::vector<float> part, load_vector(checkpoint, one, config.head_dim));
      norm.w.insert(norm.w.end(), part.begin(), part.end());
    }
  }
  if (config.norm_offset != 0)
    for (float& w : norm.w) w += config.norm_offset;
  NBL_ASSIGN(norm.b, load_bias(checkpoint, spec, config, layer));
  return norm;
}

Result<QTensor> load_matrix(const Checkpoint& checkpoint, const TensorSpec& spec, const Config& config, int64_t layer,
                            int32_t expert) {
  const std::string name = tensor_name(spec, layer, "weight", expert);
  NBL_ASSIGN(const int64_t rows, dimension(spec.rows, config));
  NBL_ASSIGN(const int64_t cols, dimension(spec.cols, config));
  if (!checkpoint.has(name)) return absent(checkpoint, name, {rows, cols});
  NBL_ASSIGN(QTensor tensor, checkpoint.matrix(name));
  if (tensor.n != rows || tensor.k != cols) return wrong_shape(checkpoint, name, {tensor.n, tensor.k}, {rows, cols});
  if (!spec.input_divisor.empty() && tensor.input_scale.empty()) {
    // Activations that AWQ scaled: the file says by what they are to be divided.
    TensorSpec divisor = spec;
    divisor.pattern = spec.input_divisor;
    divisor.no_suffix = true;
    const std::string divisor_name = tensor_name(divisor, layer, {});
    if (checkpoint.has(divisor_name)) {
      NBL_ASSIGN(std::vector<float> scale, load_vector(checkpoint, divisor_name, cols));
      for (float& s : scale) {
        if (!(s > 0))
          return Status(Code::corrupt, fmt::format("{}: tensor {} holds {}, expected positive scales",
                                                   checkpoint.origin(), divisor_name, s));
        s = 1.0f / s;
      }
      NBL_ASSIGN(tensor.input_scale, Storage::copy(std::as_bytes(std::span(scale))));
    }
  }
  return tensor;
}

Result<std::optional<Array>> plain_matrix(const Checkpoint& checkpoint, const TensorSpec& spec, const Config& config,
                                          int64_t layer, int32_t expert) {
  const std::string name = tensor_name(spec, layer, "weight", expert);
  NBL_ASSIGN(const int64_t rows, dimension(spec.rows, config));
  NBL_ASSIGN(const int64_t cols, dimension(spec.cols, config));
  std::optional<Array> plain = checkpoint.plain_matrix(name);
  if (plain && plain->shape != Shape{rows, cols}) return wrong_shape(checkpoint, name, plain->shape, {rows, cols});
  return plain;
}

Result<std::vector<float>> load_bias(const Checkpoint& checkpoint, const TensorSpec& spec, const Config& config,
                                     int64_t layer, int32_t expert) {
  if (spec.no_suffix) return std::vector<float>{};
  const std::string name = tensor_name(spec, layer, "bias", expert);
  if (!spec.has_bias || (spec.bias_when & ~config.variant) != 0) {
    // Some writers store biases of zeros. Any other would be part of the model, and must not be passed over.
    if (!checkpoint.has(name)) return std::vector<float>{};
    NBL_ASSIGN(const int64_t rows, dimension(spec.rows, config));
    NBL_ASSIGN(const std::vector<float> zeros, load_vector(checkpoint, name, rows));
    if (all_zero(zeros)) return std::vector<float>{};
    return Status(Code::unsupported, fmt::format("{}: tensor {} is not zero, but this model_type has no such bias",
                                                 checkpoint.origin(), name));
  }
  if (spec.bias_optional && !checkpoint.has(name)) return std::vector<float>{};
  NBL_ASSIGN(const int64_t rows, dimension(spec.rows, config));
  NBL_ASSIGN(std::vector<float> bias, load_vector(checkpoint, name, rows));
  if (const std::string_view key = bias_denied(checkpoint, spec); spec.bias_optional && !key.empty()) {
    if (all_zero(bias)) return std::vector<float>{};
    return Status(Code::mismatch, fmt::format("{}: tensor {} is not zero, but config.json's {} is false",
                                              checkpoint.origin(), name, key));
  }
  return bias;
}

Result<std::vector<float>> load_positions(const Checkpoint& checkpoint, const Architecture& arch,
                                          const Config& config) {
  const TensorSpec* spec = arch.find(Role::position_embedding, config);
  if (spec == nullptr) return std::vector<float>{};
  const std::string name = tensor_name(*spec, 0, "weight");
  NBL_ASSIGN(const int64_t rows, dimension(spec->rows, config));
  NBL_ASSIGN(const int64_t cols, dimension(spec->cols, config));
  if (!checkpoint.has(name)) return absent(checkpoint, name, {rows, cols});
  NBL_ASSIGN(const Array array, checkpoint.array(name));
  if (array.shape != Shape{rows, cols}) return wrong_shape(checkpoint, name, array.shape, {rows, cols});
  return array.to_f32();
}

namespace {

/// Loads parts into Weights, counting what they hold.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const Config& config, const ComputeOptions& compute, Weights& weights)
      : checkpoint_(checkpoint), config_(config), compute_(compute), w_(weights) {}

  Result<NormWeights> norm(const TensorSpec& spec, int64_t layer) {
    NBL_ASSIGN(NormWeights norm, load_norm(checkpoint_, spec, config_, layer));
    count(norm.w);
    count(norm.b);
    return norm;
  }
  Result<Linear> linear(const TensorSpec& spec, int64_t layer, int32_t expert = -1) {
    NBL_ASSIGN(QTensor tensor, load_matrix(checkpoint_, spec, config_, layer, expert));
    NBL_TRY(arena_.adopt(&tensor));
    NBL_ASSIGN(std::vector<float> bias, load_bias(checkpoint_, spec, config_, layer, expert));
    w_.parameters += tensor.n * tensor.k;
    count(bias);
    auto linear = Linear::create(std::move(tensor), std::move(bias), compute_);
    if (!linear.ok())
      return linear.status().with_context(
          fmt::format("{}: tensor {}", checkpoint_.origin(), tensor_name(spec, layer, "weight", expert)));
    return linear;
  }
  Status embedding(const TensorSpec& spec) {
    NBL_ASSIGN(w_.embedding, load_matrix(checkpoint_, spec, config_, 0));
    NBL_TRY(arena_.adopt(&w_.embedding));
    w_.parameters += w_.embedding.n * w_.embedding.k;
    return {};
  }
  Status tied_head(const TensorSpec* spec) {
    std::vector<float> bias;
    if (spec != nullptr) {
      NBL_ASSIGN(bias, load_bias(checkpoint_, *spec, config_, 0));
      NBL_TRY(same_as_embedding(tensor_name(*spec, 0, "weight")));
    }
    auto head = Linear::create(w_.embedding, std::move(bias), compute_);
    if (!head.ok()) return head.status().with_context(fmt::format("{}: tied output", checkpoint_.origin()));
    w_.lm_head = std::move(*head);
    return {};
  }
  /// A copy of the tied matrix may lie beside it; another matrix there contradicts the configuration, and of the transformers versions some
  /// take the one, some the other. Quantized ones are never the same numbers.
  Status same_as_embedding(const std::string& name) const {
    if (!checkpoint_.has(name)) return {};
    NBL_ASSIGN(const QTensor head, checkpoint_.matrix(name));
    const auto dense = [](const QTensor& t) { return t.segments.size() == 1 && t.segments[0].encoding == Encoding::dense; };
    if (!dense(head) || !dense(w_.embedding)) return {};
    bool same = head.n == w_.embedding.n && head.k == w_.embedding.k;
    std::vector<float> a(static_cast<std::size_t>(head.k)), b(a.size());
    for (int64_t r = 0; r < head.n && same; ++r) {
      head.dequantize_row(r, a.data());
      w_.embedding.dequantize_row(r, b.data());
      same = a == b;
    }
    if (same) return {};
    return Status(Code::corrupt,
                  fmt::format("{}: tensor {} is not the embedding matrix, but config.json ties the two; \"tie_word_embeddings\": false makes "
                              "it the output matrix",
                              checkpoint_.origin(), name));
  }
  void count(const std::vector<float>& v) { w_.parameters += static_cast<int64_t>(v.size()); }

 private:
  const Checkpoint& checkpoint_;
  const Config& config_;
  const ComputeOptions& compute_;
  Weights& w_;
  WeightArena arena_;
};

Status load_front(Loader& load, const Checkpoint& checkpoint, const Architecture& arch, const Config& config,
                  Weights& w) {
  for (const TensorSpec& spec : arch.tensors) {
    if (is_layer_role(spec.role) || !has_tensor(spec, config, 0)) continue;
    switch (spec.role) {
      case Role::embedding:
        NBL_TRY(load.embedding(spec));
        break;
      case Role::embedding_norm: {
        NBL_ASSIGN(w.embedding_norm, load.norm(spec, 0));
        break;
      }
      case Role::project_in: {
        NBL_ASSIGN(Linear linear, load.linear(spec, 0));
        w.project_in = std::move(linear);
        break;
      }
      default:
        break;
    }
  }
  NBL_ASSIGN(w.position_embedding, load_positions(checkpoint, arch, config));
  load.count(w.position_embedding);
  return {};
}

/// All of a layer's parts.
Status load_layer(Loader& load, const Architecture& arch, const Config& config, int64_t l, Layer& layer) {
  const bool mixture = config.layer[static_cast<std::size_t>(l)].experts;
  if (mixture) layer.experts.resize(static_cast<std::size_t>(config.experts.count));
  for (const TensorSpec& spec : arch.tensors) {
    if (!is_layer_role(spec.role) || !has_tensor(spec, config, l)) continue;
    if (is_expert_role(spec.role)) {
      for (std::size_t e = 0; e < layer.experts.size(); ++e) {
        Expert& expert = layer.experts[e];
        NBL_ASSIGN(Linear linear, load.linear(spec, l, static_cast<int32_t>(e)));
        (spec.role == Role::expert_gate  ? expert.gate
         : spec.role == Role::expert_up ? expert.up
                                        : expert.down) = std::move(linear);
      }
    } else if (spec.cols.empty()) {
      NBL_ASSIGN(layer.norms[role_index(spec.role)], load.norm(spec, l));
    } else {
      NBL_ASSIGN(Linear linear, load.linear(spec, l));
      layer.linears[role_index(spec.role)] = std::move(linear);
    }
  }
  absorb_latents(config, layer);
  return {};
}

/// Bytes of weights that one token reads on its way through the layer: of a mixture the experts it goes to.
int64_t bytes_a_token(const Layer& layer, const Config& config) {
  int64_t bytes = 0;
  for (const auto& linear : layer.linears)
    if (linear) bytes += linear->weight_bytes();
  if (!layer.experts.empty()) {
    const Expert& e = layer.experts.front();
    bytes += config.experts.per_token * (e.gate.weight_bytes() + e.up.weight_bytes() + e.down.weight_bytes());
  }
  return bytes;
}

}  // namespace

Result<Weights> load_front(const Checkpoint& checkpoint, const Architecture& arch, const Config& config,
                           const ComputeOptions& compute) {
  Weights w;
  Loader load(checkpoint, config, compute, w);
  NBL_TRY(load_front(load, checkpoint, arch, config, w));
  return w;
}

Result<Weights> load_weights(const Checkpoint& checkpoint, const Architecture& arch, const Config& config,
                             const ComputeOptions& compute, const ProgressFn& progress) {
  Weights w;
  Loader load(checkpoint, config, compute, w);
  w.layers.resize(static_cast<std::size_t>(config.layers));
  NBL_TRY(load_front(load, checkpoint, arch, config, w));
  if (const TensorSpec* spec = arch.find(Role::final_norm, config)) {
    NBL_ASSIGN(w.final_norm, load.norm(*spec, 0));
  }
  if (const TensorSpec* spec = arch.find(Role::project_out, config)) {
    NBL_ASSIGN(Linear linear, load.linear(*spec, 0));
    w.project_out = std::move(linear);
    w.bytes += w.project_out->weight_bytes();
  }
  const TensorSpec* head = arch.find(Role::lm_head, config);
  if (config.tied_embeddings) {
    NBL_TRY(load.tied_head(head));
  } else {
    NBL_ASSIGN(Linear linear, load.linear(*head, 0));
    w.lm_head = std::move(linear);
  }
  w.bytes += w.lm_head->weight_bytes();

  for (int64_t l = 0; l < config.layers; ++l) {
    NBL_TRY(report_progress(progress, {"load", fmt::format("layer {}", l), l, config.layers}));
    Layer& layer = w.layers[static_cast<std::size_t>(l)];
    NBL_TRY(load_layer(load, arch, config, l, layer));
    w.bytes += bytes_a_token(layer, config);
  }
  NBL_TRY(report_progress(progress, {"load", "", config.layers, config.layers}));
  return w;
}

}  // namespace nbl::model
