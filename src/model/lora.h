// LoRA adapters as PEFT writes them (adapter_config.json, adapter_model.safetensors): a low-rank change of linear layers,
// W x + scale B (A x). Applied beside quantized weights, or merged into a checkpoint's.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "tensor/checkpoint.h"

namespace nbl::model {

/// The change of one linear layer.
struct LoraDelta {
  int64_t rank = 0, n = 0, k = 0;
  float scale = 0;       ///< alpha / r (rank-stabilized: alpha / sqrt(r)), times the adapter's own strength
  std::vector<float> a;  ///< [k][rank]: A transposed
  std::vector<float> b;  ///< [rank][n]: B transposed
};

struct LoraAdapter {
  std::string origin;
  std::map<std::string, LoraDelta> deltas;  ///< by the weight's name, "model.layers.0.self_attn.q_proj.weight"
};

/// Reads an adapter's directory; `strength` multiplies its scale. Everything that would change the result and is not
/// implemented is refused by name (Code::unsupported): modules_to_save, trained biases, DoRA, other kinds of adapter.
Result<std::shared_ptr<const LoraAdapter>> load_lora(const std::filesystem::path& directory, float strength);

/// y[n] += scale B (A x): rows of x [k] and y [n]; columns [begin, end) of y.
void add_lora(const LoraDelta& delta, const float* x, float* y, int64_t begin, int64_t end) noexcept;

/// The largest rank that is read.
inline constexpr int64_t kMaxLoraRank = 1024;

/// The checkpoint with the adapter's changes added to its weights, which become float32. Everything else is passed on.
/// Code::mismatch when the adapter changes a weight that the checkpoint does not have, or of another shape.
Result<std::shared_ptr<const Checkpoint>> merge_lora(std::shared_ptr<const Checkpoint> base,
                                                     std::shared_ptr<const LoraAdapter> adapter);

/// What moved scales between the weights of this checkpoint ("awq", "smoothquant", "a rotation"), as far as its files tell; empty: nothing.
std::string folded_scales(const Checkpoint& checkpoint);
/// Code::unsupported when something did: what `method` is not empty says.
Status refuse_folded(std::string_view method, const LoraAdapter& adapter, std::string_view base);

}  // namespace nbl::model
