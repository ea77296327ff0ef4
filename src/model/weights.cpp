#include "model/weights.h"

#include <fmt/format.h>

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

/// A dense matrix the other way round.
Result<QTensor> transpose(const QTensor& t) {
  std::vector<float> turned(static_cast<std::size_t>(t.n) * static_cast<std::size_t>(t.k));
  std::vector<float> row(static_cast<std::size_t>(t.k));
  for (int64_t r = 0; r < t.n; ++r) {
    t.dequantize_row(r, row.data());
    for (int64_t c = 0; c < t.k; ++c) turned[static_cast<std::size_t>(c * t.n + r)] = row[static_cast<std::size_t>(c)];
  }
  // The values came from `type`, so going back to it loses nothing.
  const DType type = t.segments.front().value_type;
  std::vector<std::byte> stored(turned.size() * static_cast<std::size_t>(dtype_bytes(type)));
  convert_from_f32(turned.data(), static_cast<int64_t>(turned.size()), type, stored.data());
  NBL_ASSIGN(Segment segment, pack_dense(t.k, t.n, type, stored.data()));
  return make_qtensor(t.k, t.n, std::move(segment));
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

Result<QTensor> load_matrix(const Checkpoint& checkpoint, const TensorSpec& spec, const Config& config, int64_t layer) {
  const std::string name = tensor_name(spec, layer, "weight");
  NBL_ASSIGN(const int64_t rows, dimension(spec.rows, config));
  NBL_ASSIGN(const int64_t cols, dimension(spec.cols, config));
  if (!checkpoint.has(name)) return absent(checkpoint, name, {rows, cols});
  NBL_ASSIGN(QTensor tensor, checkpoint.matrix(name));
  if (spec.transposed && tensor.segments.size() == 1 && tensor.segments.front().encoding == Encoding::dense &&
      !tensor.segments.front().scaled) {
    // Dense files keep [in, out]; quantized ones are [out, in] like every other linear.
    if (tensor.n != cols || tensor.k != rows) return wrong_shape(checkpoint, name, {tensor.n, tensor.k}, {cols, rows});
    return transpose(tensor);
  }
  if (tensor.n != rows || tensor.k != cols) return wrong_shape(checkpoint, name, {tensor.n, tensor.k}, {rows, cols});
  return tensor;
}

Result<std::vector<float>> load_bias(const Checkpoint& checkpoint, const TensorSpec& spec, const Config& config,
                                     int64_t layer) {
  if (!spec.has_bias) return std::vector<float>{};
  const std::string name = tensor_name(spec, layer, "bias");
  if (spec.bias_optional && !checkpoint.has(name)) return std::vector<float>{};
  NBL_ASSIGN(const int64_t rows, dimension(spec.rows, config));
  return load_vector(checkpoint, name, rows);
}

Result<std::vector<float>> load_positions(const Checkpoint& checkpoint, const Architecture& arch,
                                          const Config& config) {
  const TensorSpec* spec = arch.find(Role::position_embedding);
  if (spec == nullptr) return std::vector<float>{};
  const std::string name = tensor_name(*spec, 0, "weight");
  NBL_ASSIGN(const int64_t rows, dimension(spec->rows, config));
  NBL_ASSIGN(const int64_t cols, dimension(spec->cols, config));
  if (!checkpoint.has(name)) return absent(checkpoint, name, {rows, cols});
  NBL_ASSIGN(const Array array, checkpoint.array(name));
  if (array.shape != Shape{rows, cols}) return wrong_shape(checkpoint, name, array.shape, {rows, cols});
  return array.to_f32();
}

Result<Weights> load_weights(const Checkpoint& checkpoint, const Architecture& arch, const Config& config,
                             const ComputeOptions& compute, const ProgressFn& progress) {
  Weights w;
  WeightArena arena;
  w.layers.resize(static_cast<std::size_t>(config.layers));

  const auto count_vector = [&](const std::vector<float>& v) { w.parameters += static_cast<int64_t>(v.size()); };
  const auto load_norm = [&](const TensorSpec& spec, int64_t layer) -> Result<NormWeights> {
    NormWeights norm;
    NBL_ASSIGN(const int64_t size, dimension(spec.rows, config));
    NBL_ASSIGN(norm.w, load_vector(checkpoint, tensor_name(spec, layer, "weight"), size));
    NBL_ASSIGN(norm.b, load_bias(checkpoint, spec, config, layer));
    count_vector(norm.w);
    count_vector(norm.b);
    return norm;
  };
  const auto load_linear = [&](const TensorSpec& spec, int64_t layer) -> Result<Linear> {
    NBL_ASSIGN(QTensor tensor, load_matrix(checkpoint, spec, config, layer));
    NBL_TRY(arena.adopt(&tensor));
    NBL_ASSIGN(std::vector<float> bias, load_bias(checkpoint, spec, config, layer));
    w.parameters += tensor.n * tensor.k;
    count_vector(bias);
    auto linear = Linear::create(std::move(tensor), std::move(bias), compute);
    if (!linear.ok())
      return linear.status().with_context(
          fmt::format("{}: tensor {}", checkpoint.origin(), tensor_name(spec, layer, "weight")));
    w.bytes += linear->weight_bytes();
    return linear;
  };

  for (const TensorSpec& spec : arch.tensors) {
    if (is_layer_role(spec.role)) continue;
    switch (spec.role) {
      case Role::embedding: {
        NBL_ASSIGN(w.embedding, load_matrix(checkpoint, spec, config, 0));
        NBL_TRY(arena.adopt(&w.embedding));
        w.parameters += w.embedding.n * w.embedding.k;
        break;
      }
      case Role::final_norm: {
        NBL_ASSIGN(w.final_norm, load_norm(spec, 0));
        break;
      }
      case Role::lm_head:
        if (!config.tied_embeddings) {
          NBL_ASSIGN(Linear head, load_linear(spec, 0));
          w.lm_head = std::move(head);
        }
        break;
      default:
        break;
    }
  }
  NBL_ASSIGN(w.position_embedding, load_positions(checkpoint, arch, config));
  count_vector(w.position_embedding);
  if (config.tied_embeddings) {
    auto head = Linear::create(w.embedding, {}, compute);
    if (!head.ok()) return head.status().with_context(fmt::format("{}: tied output", checkpoint.origin()));
    w.lm_head = std::move(*head);
    w.bytes += w.lm_head->weight_bytes();
  }

  for (int64_t l = 0; l < config.layers; ++l) {
    NBL_TRY(report_progress(progress, {"load", fmt::format("layer {}", l), l, config.layers}));
    Layer& layer = w.layers[static_cast<std::size_t>(l)];
    for (const TensorSpec& spec : arch.tensors) {
      if (!is_layer_role(spec.role)) continue;
      if (spec.cols.empty()) {
        NBL_ASSIGN(layer.norms[role_index(spec.role)], load_norm(spec, l));
      } else {
        NBL_ASSIGN(Linear linear, load_linear(spec, l));
        layer.linears[role_index(spec.role)] = std::move(linear);
      }
    }
  }
  NBL_TRY(report_progress(progress, {"load", "", config.layers, config.layers}));
  return w;
}

}  // namespace nbl::model
