#include "model/lora.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/bounds.h"
#include "base/file.h"
#include "base/json.h"
#include "io/container.h"
#include "tensor/folded_scales.h"
#include "text/regex.h"

namespace nbl::model {
namespace {

constexpr BoundOf<int64_t> kMaxConfig{Bound::lora_config_bytes};
constexpr std::string_view kPrefix = "base_model.model.";

/// Whether a config member says "no": absent, null, false, empty or `none`.
bool is_off(const Json& config, std::string_view key) {
  const Json* value = config.find_value(key);
  if (value == nullptr) return true;
  if (value->is_bool()) return !value->as_bool();
  if (value->is_string()) return value->as_string().empty() || value->as_string() == "none";
  return value->size() == 0 && !value->is_number();
}

std::string config_name(const std::string& origin) { return origin + ": adapter_config.json"; }

/// A value with the file named in what is wrong with it.
template <class T>
Result<T> in_config(Result<T> value, const std::string& origin) {
  if (!value.ok()) return value.status().with_context(config_name(origin));
  return value;
}

Status check_config(const Json& config, const std::string& origin) {
  const auto refuse = [&](std::string_view what) {
    return Status(Code::unsupported, fmt::format("{}: adapter_config.json: {}", origin, what));
  };
  const Json* type = config.find_value("peft_type");
  if (type == nullptr || type->as_string() != "LORA")
    return refuse(fmt::format("peft_type is \"{}\"; only LORA adapters are supported",
                              type == nullptr ? std::string_view("missing") : type->as_string()));
  for (const char* key : {"modules_to_save", "use_dora", "lora_bias", "megatron_config", "trainable_token_indices", "layer_replication",
                          "target_parameters", "alora_invocation_tokens", "use_qalora"})
    if (!is_off(config, key)) return refuse(fmt::format("\"{}\" is set, which is not supported", key));
  if (!is_off(config, "bias")) return refuse("\"bias\" is not \"none\": trained biases are not supported");
  if (const Json* init = config.find_value("init_lora_weights"); init != nullptr && init->is_string()) {
    const std::string_view name = init->as_string();
    if (name.starts_with("pissa") || name == "olora" || name == "corda")
      return refuse(fmt::format("\"init_lora_weights\" is \"{}\": the base weights were changed as well, which is not "
                                "supported; convert the adapter to a plain one first",
                                name));
  }
  return {};
}

/// r or alpha of a module: that of the first pattern that its name, or the end of it after a dot, matches; else the general one. Patterns are
/// regular expressions, as in PEFT; most are plain names.
Result<double> of_module(const Json& config, std::string_view pattern_key, std::string_view key, double fallback,
                         const std::string& module, const std::string& origin) {
  NBL_ASSIGN(double value, in_config(config.double_or(key, fallback), origin));
  const Json* patterns = config.find_value(pattern_key);
  if (patterns == nullptr) return value;
  for (const auto& [pattern, special] : patterns->members()) {
    const bool plain = std::all_of(pattern.begin(), pattern.end(), [](char c) {
      return c == '_' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    });
    if (!plain) {
      NBL_ASSIGN(const auto regex, text::Regex::compile(fmt::format("\\A(?:.*\\.)?(?:{})\\z", pattern),
                                                        fmt::format("{}: adapter_config.json: {}", origin, pattern_key)));
      bool matches = false;
      NBL_TRY(regex->find_all(module, [&](std::size_t, std::size_t) { return matches = true, false; }));
      if (matches) return special.as_double();
      continue;
    }
    const bool whole = module.size() == pattern.size() ||
                       (module.size() > pattern.size() && module[module.size() - pattern.size() - 1] == '.');
    if (module.ends_with(pattern) && whole) return special.as_double();
  }
  return value;
}

/// [rows, columns] of a stored tensor, transposed.
std::vector<float> transposed(const std::vector<float>& x, int64_t rows, int64_t columns) {
  std::vector<float> out(x.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      out[static_cast<std::size_t>(c * rows + r)] = x[static_cast<std::size_t>(r * columns + c)];
  return out;
}

}  // namespace

Result<std::shared_ptr<const LoraAdapter>> load_lora(const std::filesystem::path& directory, float strength) {
  const std::string origin = directory.string();
  if (!std::isfinite(strength)) return Status(Code::invalid_argument, fmt::format("{}: the scale is no finite number", origin));
  NBL_ASSIGN(const std::string text, read_text_file(directory / "adapter_config.json", kMaxConfig));
  NBL_ASSIGN(const Json config, Json::parse(text, config_name(origin)));
  NBL_TRY(check_config(config, origin));
  NBL_ASSIGN(const bool rank_stabilized, in_config(config.bool_or("use_rslora", false), origin));
  // How the base model stores its matrices, which its checkpoint knows: read to be a truth value, and no more.
  NBL_TRY(in_config(config.bool_or("fan_in_fan_out", false), origin).status());
  auto adapter = std::make_shared<LoraAdapter>();
  adapter->origin = origin;

  std::error_code ignored;
  const auto file = directory / "adapter_model.safetensors";
  if (!std::filesystem::exists(file, ignored) && std::filesystem::exists(directory / "adapter_model.bin", ignored))
    return Status(Code::unsupported, fmt::format("{}: adapter_model.bin is a pickle, which is not read; save the adapter as "
                                                 "safetensors",
                                                 origin));
  NBL_ASSIGN(const auto container, io::open_safetensors(file));
  const auto corrupt = [&](const std::string& name, std::string_view what) {
    return Status(Code::corrupt, fmt::format("{}: tensor {}: {}", file.string(), name, what));
  };
  for (const io::RawTensor& a : container->tensors()) {
    // base_model.model.<module>.lora_A[.default].weight, and lora_B beside it
    std::string name = a.name;
    const std::size_t at = name.find(".lora_A.");
    if (at == std::string::npos) {
      std::string partner = name;
      const std::size_t b_at = partner.find(".lora_B.");
      if (b_at != std::string::npos) partner.replace(b_at, 8, ".lora_A.");
      if (b_at == std::string::npos || container->find(partner) == nullptr)
        return Status(Code::unsupported,
                      fmt::format("{}: tensor {} is no part of a LoRA of linear layers (embeddings, saved modules and the "
                                  "like are not supported)",
                                  file.string(), name));
      continue;
    }
    std::string other = name;
    other.replace(at, 8, ".lora_B.");
    const io::RawTensor* b = container->find(other);
    if (b == nullptr) return corrupt(name, fmt::format("its counterpart {} is missing", other));
    std::string module = name.substr(0, at);
    if (module.starts_with(kPrefix)) module.erase(0, kPrefix.size());
    if (a.shape.size() != 2 || b->shape.size() != 2 || a.shape[0] != b->shape[1] || a.shape[0] < 1)
      return corrupt(name, fmt::format("shapes {} and {} of A and B do not go together", shape_string(a.shape), shape_string(b->shape)));
    LoraDelta d;
    d.rank = a.shape[0];
    d.k = a.shape[1];
    d.n = b->shape[0];
    if (d.rank > kMaxLoraRank)
      return Status(Code::limit, fmt::format("{}: tensor {}: rank {} is above {}", file.string(), name, d.rank, kMaxLoraRank));
    NBL_ASSIGN(const double r, of_module(config, "rank_pattern", "r", 8, module, origin));
    NBL_ASSIGN(const double alpha, of_module(config, "alpha_pattern", "lora_alpha", 8, module, origin));
    if (r != static_cast<double>(d.rank))
      return corrupt(name, fmt::format("its rank is {}, adapter_config.json says {}", d.rank, r));
    d.scale = static_cast<float>(alpha / (rank_stabilized ? std::sqrt(r) : r)) * strength;
    NBL_ASSIGN(const Array a_array, io::to_array(a));
    NBL_ASSIGN(const Array b_array, io::to_array(*b));
    NBL_ASSIGN(const std::vector<float> a_values, a_array.to_f32());
    NBL_ASSIGN(const std::vector<float> b_values, b_array.to_f32());
    d.a = transposed(a_values, d.rank, d.k);
    d.b = transposed(b_values, d.n, d.rank);
    const auto finite = [](float x) { return std::isfinite(x); };
    if (!std::all_of(d.a.begin(), d.a.end(), finite) || !std::all_of(d.b.begin(), d.b.end(), finite))
      return corrupt(name, "holds values that are not finite");
    adapter->deltas.emplace(module + ".weight", std::move(d));
  }
  if (adapter->deltas.empty()) return Status(Code::corrupt, fmt::format("{}: holds no LoRA tensors", file.string()));
  return std::shared_ptr<const LoraAdapter>(std::move(adapter));
}

void add_lora(const LoraDelta& d, const float* x, float* y, int64_t begin, int64_t end) noexcept {
  float u[kMaxLoraRank];
  for (int64_t r = 0; r < d.rank; ++r) u[r] = 0;
  for (int64_t c = 0; c < d.k; ++c) {
    const float* a = d.a.data() + c * d.rank;
    for (int64_t r = 0; r < d.rank; ++r) u[r] += x[c] * a[r];
  }
  for (int64_t r = 0; r < d.rank; ++r) {
    const float* b = d.b.data() + r * d.n;
    const float w = d.scale * u[r];
    for (int64_t i = begin; i < end; ++i) y[i] += w * b[i];
  }
}

namespace {

class MergedCheckpoint final : public Checkpoint {
 public:
  MergedCheckpoint(std::shared_ptr<const Checkpoint> base, std::shared_ptr<const LoraAdapter> adapter)
      : base_(std::move(base)), adapter_(std::move(adapter)) {}

  std::string format() const override { return base_->format(); }
  std::string origin() const override { return base_->origin() + " + " + adapter_->origin; }
  std::vector<std::string> sources() const override { return base_->sources(); }
  const Json& config() const override { return base_->config(); }
  std::vector<TensorInfo> tensors() const override { return base_->tensors(); }
  bool has(std::string_view name) const override { return base_->has(name); }
  Result<QTensor> matrix(std::string_view name) const override {
    const LoraDelta* delta = find(name);
    if (delta == nullptr) return base_->matrix(name);
    NBL_ASSIGN(const QTensor w, base_->matrix(name));
    if (!w.input_scale.empty())
      return Status(Code::unsupported, fmt::format("{}: tensor {} has scales of its input, which no adapter can be merged into",
                                                   origin(), name));
    std::vector<float> dense(static_cast<std::size_t>(w.n) * static_cast<std::size_t>(w.k));
    for (int64_t r = 0; r < w.n; ++r) w.dequantize_row(r, dense.data() + r * w.k);
    NBL_TRY(add(*delta, name, w.n, w.k, dense));
    NBL_ASSIGN(Segment segment, pack_dense(w.n, w.k, DType::f32, dense.data()));
    return make_qtensor(w.n, w.k, std::move(segment));
  }
  Result<Array> array(std::string_view name) const override {
    const LoraDelta* delta = find(name);
    if (delta == nullptr) return base_->array(name);
    NBL_ASSIGN(const Array w, base_->array(name));
    NBL_ASSIGN(std::vector<float> dense, w.to_f32());
    if (w.shape.size() != 2) return Status(Code::mismatch, fmt::format("{}: tensor {} is no matrix", origin(), name));
    NBL_TRY(add(*delta, name, w.shape[0], w.shape[1], dense));
    return Array::from_f32(std::move(dense), w.shape);
  }
  bool has_asset(std::string_view name) const override { return base_->has_asset(name); }
  Result<std::string> asset(std::string_view name) const override { return base_->asset(name); }
  std::vector<std::string> asset_names() const override { return base_->asset_names(); }
  std::vector<std::string> warnings() const override { return base_->warnings(); }
  int64_t file_bytes() const override { return base_->file_bytes(); }

  const LoraDelta* find(std::string_view name) const {
    const auto found = adapter_->deltas.find(std::string(name));
    return found == adapter_->deltas.end() ? nullptr : &found->second;
  }

 private:
  /// dense [rows, columns] = [out, in], which is what a checkpoint gives, whatever way round it stores a matrix: an adapter's own
  /// fan_in_fan_out says nothing more.
  Status add(const LoraDelta& d, std::string_view name, int64_t rows, int64_t columns, std::vector<float>& dense) const {
    if (d.n != rows || d.k != columns)
      return Status(Code::mismatch, fmt::format("{}: changes {} as [{}, {}], which is [{}, {}] in {}", adapter_->origin, name, d.n, d.k,
                                                rows, columns, base_->origin()));
    for (int64_t o = 0; o < d.n; ++o) {
      for (int64_t i = 0; i < d.k; ++i) {
        double sum = 0;
        for (int64_t r = 0; r < d.rank; ++r)
          sum += static_cast<double>(d.b[static_cast<std::size_t>(r * d.n + o)]) *
                 static_cast<double>(d.a[static_cast<std::size_t>(i * d.rank + r)]);
        float& w = dense[static_cast<std::size_t>(o * d.k + i)];
        w = static_cast<float>(static_cast<double>(w) + static_cast<double>(d.scale) * sum);
      }
    }
    return {};
  }

  std::shared_ptr<const Checkpoint> base_;
  std::shared_ptr<const LoraAdapter> adapter_;
};

}  // namespace

std::string folded_scales(const Checkpoint& checkpoint) {
  if (std::string folded = folding_of_config(checkpoint.config()); !folded.empty()) return folded;
  if (!checkpoint.has_asset("manifest.json")) return {};
  const auto text = checkpoint.asset("manifest.json");
  if (!text.ok()) return {};
  const auto manifest = Json::parse(*text, "manifest.json");
  return manifest.ok() ? folding_of_manifest(*manifest) : std::string();
}

Status refuse_folded(std::string_view method, const LoraAdapter& adapter, std::string_view base) {
  if (method.empty()) return {};
  return Status(Code::unsupported,
                fmt::format("{}: {} was quantized with {}, which moved scales between its weights and norms, so the adapter's inputs are no "
                            "longer what it was trained on; merge it into the original model and quantize that",
                            adapter.origin, base, method));
}

Result<std::shared_ptr<const Checkpoint>> merge_lora(std::shared_ptr<const Checkpoint> base,
                                                     std::shared_ptr<const LoraAdapter> adapter) {
  NBL_TRY(refuse_folded(folded_scales(*base), *adapter, base->origin()));
  for (const auto& [name, delta] : adapter->deltas)
    if (!base->has(name))
      return Status(Code::mismatch, fmt::format("{}: changes {}, which {} does not have", adapter->origin, name, base->origin()));
  return std::shared_ptr<const Checkpoint>(std::make_shared<MergedCheckpoint>(std::move(base), std::move(adapter)));
}

}  // namespace nbl::model
