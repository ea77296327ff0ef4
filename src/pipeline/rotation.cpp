#include "pipeline/rotation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/random.h"
#include "model/arch.h"
#include "model/block.h"

namespace nbl::pipeline {
namespace {

using model::Role;

/// What becomes of a tensor.
struct Change {
  enum class Kind : uint8_t {
    reads,   ///< multiplies a normed residual stream: columns times the norm's weight, rows rotated
    writes,  ///< adds to the residual stream: its outputs rotated
    embeds,  ///< rows are residual streams
    norm,    ///< its weight has gone into those that read it
  } kind = Kind::embeds;
  std::string norm;    ///< of `reads`
  std::string source;  ///< tensor of the original
};

bool in_some_layer(const model::TensorSpec& spec, const model::Config& config) {
  for (int64_t l = 0; l < config.layers; ++l)
    if (model::has_tensor(spec, config, l)) return true;
  return false;
}

class RotatedCheckpoint final : public Checkpoint {
 public:
  static Result<std::unique_ptr<RotatedCheckpoint>> create(const Checkpoint& input, uint64_t seed) {
    NBL_ASSIGN(const model::Architecture* arch, model::find_architecture(input.config(), input.origin()));
    NBL_ASSIGN(const model::Config config, arch->read_config(input.config(), input.origin()));
    auto rotated = std::unique_ptr<RotatedCheckpoint>(new RotatedCheckpoint(input, config.hidden, seed));
    NBL_TRY(rotated->plan(*arch, config).with_context("rotation"));
    return rotated;
  }

  std::string format() const override { return input_.format(); }
  std::string origin() const override { return input_.origin(); }
  std::vector<std::string> sources() const override { return input_.sources(); }
  const Json& config() const override { return config_; }
  bool has(std::string_view name) const override { return changes_.contains(name) || input_.has(name); }
  bool has_asset(std::string_view name) const override { return input_.has_asset(name); }
  Result<std::string> asset(std::string_view name) const override { return input_.asset(name); }
  std::vector<std::string> asset_names() const override { return input_.asset_names(); }
  std::vector<std::string> warnings() const override { return input_.warnings(); }
  int64_t file_bytes() const override { return input_.file_bytes(); }

  std::vector<TensorInfo> tensors() const override {
    std::vector<TensorInfo> infos = input_.tensors();
    for (const auto& [name, change] : changes_) {
      if (input_.has(name)) continue;
      for (std::size_t i = 0; i < infos.size(); ++i) {
        if (infos[i].name != change.source) continue;
        TensorInfo info = infos[i];
        info.name = name;
        infos.push_back(std::move(info));
        break;
      }
    }
    return infos;
  }

  Result<QTensor> matrix(std::string_view name) const override {
    const auto it = changes_.find(name);
    if (it == changes_.end()) return input_.matrix(name);
    NBL_ASSIGN(const QTensor tensor, input_.matrix(it->second.source));
    const int64_t n = tensor.n, k = tensor.k;
    std::vector<float> w(static_cast<std::size_t>(n * k));
    for (int64_t r = 0; r < n; ++r) tensor.dequantize_row(r, w.data() + r * k);
    if (it->second.kind == Change::Kind::writes) {
      std::vector<float> column(static_cast<std::size_t>(n));
      for (int64_t c = 0; c < k; ++c) {
        for (int64_t r = 0; r < n; ++r) column[static_cast<std::size_t>(r)] = w[static_cast<std::size_t>(r * k + c)];
        rotation_.apply(column.data());
        for (int64_t r = 0; r < n; ++r) w[static_cast<std::size_t>(r * k + c)] = column[static_cast<std::size_t>(r)];
      }
    } else {
      std::vector<float> weight;
      if (!it->second.norm.empty()) {
        NBL_ASSIGN(const Array norm, input_.array(it->second.norm));
        NBL_ASSIGN(weight, norm.to_f32());
        if (static_cast<int64_t>(weight.size()) != k) {
          return Status(Code::mismatch, fmt::format("{}: {} has {} weights for {} columns of {}", origin(), it->second.norm, weight.size(), k, name));
        }
      }
      for (int64_t r = 0; r < n; ++r) {
        float* row = w.data() + r * k;
        for (std::size_t c = 0; c < weight.size(); ++c) row[c] *= weight[c];
        rotation_.apply(row);
      }
    }
    // What no method will round is kept in half the bytes: its error is far below any method's.
    const bool half = (it->second.kind == Change::Kind::embeds || name == head_) &&
                      std::all_of(w.begin(), w.end(), [](float v) { return std::fabs(v) < 65504.0f; });
    const DType type = half ? DType::f16 : DType::f32;
    std::vector<std::byte> stored(w.size() * static_cast<std::size_t>(dtype_bytes(type)));
    convert_from_f32(w.data(), n * k, type, stored.data());
    NBL_ASSIGN(Segment segment, pack_dense(n, k, type, stored.data()));
    return make_qtensor(n, k, std::move(segment));
  }

  Result<Array> array(std::string_view name) const override {
    const auto it = changes_.find(name);
    if (it == changes_.end()) return input_.array(name);
    if (it->second.kind == Change::Kind::norm) {
      NBL_ASSIGN(const Array own, input_.array(name));
      return Array::from_f32(std::vector<float>(static_cast<std::size_t>(own.size()), 1.0f), own.shape);
    }
    if (name.ends_with(".bias")) {
      NBL_ASSIGN(const Array own, input_.array(name));
      NBL_ASSIGN(std::vector<float> values, own.to_f32());
      rotation_.apply(values.data());
      return Array::from_f32(std::move(values), own.shape);
    }
    NBL_ASSIGN(const QTensor tensor, matrix(name));
    std::vector<float> values(static_cast<std::size_t>(tensor.n * tensor.k));
    for (int64_t r = 0; r < tensor.n; ++r) tensor.dequantize_row(r, values.data() + r * tensor.k);
    return Array::from_f32(std::move(values), {tensor.n, tensor.k});
  }

  const Rotation& rotation() const noexcept { return rotation_; }

 private:
  RotatedCheckpoint(const Checkpoint& input, int64_t width, uint64_t seed)
      : input_(input), config_(input.config()), rotation_(width, seed), width_(width) {}

  Status plan(const model::Architecture& arch, const model::Config& config) {
    const auto refuse = [](std::string why) { return Status(Code::unsupported, std::move(why)); };
    if (config.norm != model::Norm::rms) return refuse("layer norms subtract a mean, which a rotation does not keep");
    if (config.norm_offset != 0) return refuse("norms that add to their weights");
    if (config.learned_positions) return refuse("learned positions are added to the embeddings");
    if (rotation_.block() < 16) return refuse(fmt::format("a width of {} has no Hadamard matrix of 16 or more", width_));
    for (const model::TensorSpec& spec : arch.tensors) {
      if (!model::is_layer_role(spec.role) ? !model::has_tensor(spec, config, 0) : !in_some_layer(spec, config)) continue;
      switch (spec.role) {
        case Role::embedding:
          NBL_TRY(add(spec, 0, Change::Kind::embeds, ""));
          break;
        case Role::final_norm:
          NBL_TRY(add(spec, 0, Change::Kind::norm, ""));
          break;
        case Role::lm_head: {
          const model::TensorSpec* norm = arch.find(Role::final_norm);
          const model::TensorSpec* embedding = arch.find(Role::embedding);
          if (norm == nullptr || embedding == nullptr) return refuse("no final norm");
          const std::string name = model::tensor_name(spec, 0, "weight");
          const std::string source = config.tied_embeddings ? model::tensor_name(*embedding, 0, "weight") : name;
          head_ = name;
          changes_[name] = {Change::Kind::reads, model::tensor_name(*norm, 0, "weight"), source};
          break;
        }
        case Role::attn_norm:
        case Role::mlp_norm:
          NBL_TRY(each_layer(spec, config, Change::Kind::norm, nullptr));
          break;
        case Role::q:
        case Role::k:
        case Role::v:
        case Role::qkv:
          NBL_TRY(each_layer(spec, config, Change::Kind::reads, arch.find(Role::attn_norm)));
          break;
        case Role::gate:
        case Role::up:
        case Role::gate_up:
          NBL_TRY(each_layer(spec, config, Change::Kind::reads, arch.find(Role::mlp_norm)));
          break;
        case Role::attn_out:
        case Role::down:
          NBL_TRY(each_layer(spec, config, Change::Kind::writes, nullptr));
          break;
        default:
          return refuse(fmt::format("{} is no part that can be rotated", spec.pattern));
      }
    }
    if (config.tied_embeddings) {
      if (arch.find(Role::lm_head) == nullptr) return refuse("the architecture has no output projection of its own");
      config_.set("tie_word_embeddings", false);
    }
    return {};
  }

  Status add(const model::TensorSpec& spec, int64_t layer, Change::Kind kind, const std::string& norm) {
    const std::string name = model::tensor_name(spec, layer, "weight");
    if (!input_.has(name)) return {};  // a fused or an optional variant
    changes_[name] = {kind, norm, name};
    const std::string bias = model::tensor_name(spec, layer, "bias");
    if (kind == Change::Kind::writes && input_.has(bias)) changes_[bias] = {kind, "", bias};
    if (kind == Change::Kind::norm && input_.has(bias)) return Status(Code::unsupported, fmt::format("{} has a bias", name));
    return {};
  }

  Status each_layer(const model::TensorSpec& spec, const model::Config& config, Change::Kind kind, const model::TensorSpec* norm) {
    for (int64_t l = 0; l < config.layers; ++l) {
      if (kind == Change::Kind::reads && norm == nullptr) return Status(Code::unsupported, fmt::format("{} reads no norm", spec.pattern));
      NBL_TRY(add(spec, l, kind, norm == nullptr ? std::string() : model::tensor_name(*norm, l, "weight")));
    }
    return {};
  }

  const Checkpoint& input_;
  Json config_;
  Rotation rotation_;
  int64_t width_;
  std::string head_;
  std::map<std::string, Change, std::less<>> changes_;
};

/// The first layer's output of both models on a few tokens: one must be the other rotated.
Status check(const Checkpoint& input, const RotatedCheckpoint& rotated, Team& team) {
  NBL_ASSIGN(const model::Architecture* arch, model::find_architecture(input.config(), input.origin()));
  NBL_ASSIGN(const model::Config config, arch->read_config(input.config(), input.origin()));
  constexpr int64_t kTokens = 16;
  std::vector<text::TokenId> ids;
  for (int64_t i = 0; i < kTokens; ++i) ids.push_back(static_cast<text::TokenId>((i * 37 + 1) % config.vocab));
  std::vector<float> before(static_cast<std::size_t>(kTokens * config.hidden)), after(before.size());
  NBL_TRY(model::embed(input, *arch, config, ids, kTokens, before.data()));
  NBL_TRY(model::embed(rotated, *arch, config, ids, kTokens, after.data()));
  NBL_ASSIGN(const model::LayerWeights original, model::load_layer(input, *arch, config, 0));
  NBL_ASSIGN(const model::LayerWeights changed, model::load_layer(rotated, *arch, config, 0));
  NBL_TRY(model::run_layer(original, *arch, config, team, 1, kTokens, before.data(), nullptr, 0));
  NBL_TRY(model::run_layer(changed, *arch, config, team, 1, kTokens, after.data(), nullptr, 0));
  double error = 0, size = 0;
  for (int64_t t = 0; t < kTokens; ++t) {
    rotated.rotation().apply(before.data() + t * config.hidden);
    for (int64_t c = 0; c < config.hidden; ++c) {
      const double x = static_cast<double>(before[static_cast<std::size_t>(t * config.hidden + c)]);
      const double d = x - static_cast<double>(after[static_cast<std::size_t>(t * config.hidden + c)]);
      error += d * d;
      size += x * x;
    }
  }
  if (error <= 1e-6 * size) return {};
  return Status(Code::unsupported, fmt::format("{}: rotation: the first layer is not the same function afterwards (relative error {:.2g})",
                                               input.origin(), size > 0 ? error / size : error));
}

}  // namespace

Rotation::Rotation(int64_t width, uint64_t seed) {
  while (width % (2 * block_) == 0) block_ *= 2;
  Random random(seed);
  for (int64_t i = 0; i < width; ++i) signs_.push_back(random.below(2) == 0 ? 1.0f : -1.0f);
}

void Rotation::apply(float* x) const noexcept {
  const int64_t width = static_cast<int64_t>(signs_.size());
  const float scale = 1.0f / std::sqrt(static_cast<float>(block_));
  for (int64_t i = 0; i < width; ++i) x[i] *= signs_[static_cast<std::size_t>(i)] * scale;
  for (int64_t first = 0; first < width; first += block_) {
    for (int64_t half = 1; half < block_; half *= 2) {
      for (int64_t i = first; i < first + block_; i += 2 * half) {
        for (int64_t j = i; j < i + half; ++j) {
          const float a = x[j], b = x[j + half];
          x[j] = a + b;
          x[j + half] = a - b;
        }
      }
    }
  }
}

Result<std::unique_ptr<Checkpoint>> rotate_checkpoint(const Checkpoint& input, uint64_t seed, Team& team) {
  NBL_ASSIGN(std::unique_ptr<RotatedCheckpoint> rotated, RotatedCheckpoint::create(input, seed));
  NBL_TRY(check(input, *rotated, team));
  return std::unique_ptr<Checkpoint>(std::move(rotated));
}

}  // namespace nbl::pipeline
