// The weights of a model as the forward pass uses them.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "model/arch.h"
#include "model/model.h"
#include "tensor/checkpoint.h"
#include "tensor/linear.h"

namespace nbl::model {

struct NormWeights {
  std::vector<float> w;
  std::vector<float> b;  ///< empty: none
};

/// One expert of a mixture.
struct Expert {
  Linear gate, up, down;
};

/// One decoder layer, its parts found by role. A role that the architecture does not have is empty.
struct Layer {
  std::array<std::optional<Linear>, kRoles> linears;
  std::array<NormWeights, kRoles> norms;
  std::vector<Expert> experts;
  /// Latent attention's up-projection as it is used: [heads][nope_dim][kv_rank] and [heads][kv_rank][value_dim].
  std::vector<float> latent_keys, latent_values;

  const Linear* linear(Role role) const noexcept {
    const auto& l = linears[role_index(role)];
    return l ? &*l : nullptr;
  }
  const NormWeights& norm(Role role) const noexcept { return norms[role_index(role)]; }
};

/// Makes latent_keys and latent_values of the layer's up-projection, where it has one.
void absorb_latents(const Config& config, Layer& layer);

struct Weights {
  QTensor embedding;                      ///< [vocab, hidden]
  std::vector<float> position_embedding;  ///< [max_positions, hidden] or empty
  NormWeights final_norm;
  NormWeights embedding_norm;        ///< empty: none
  std::optional<Linear> project_in;  ///< embedding width to hidden width, and back; empty: they are equal
  std::optional<Linear> project_out;
  std::optional<Linear> lm_head;  ///< shares the embedding's storage when tied
  std::vector<Layer> layers;
  int64_t parameters = 0;
  int64_t bytes = 0;  ///< read for one decoded token
};

struct Model::Impl {
  Config config;
  ComputeOptions compute;
  Weights weights;
  std::unique_ptr<text::Tokenizer> tokenizer;
  Status tokenizer_status;
  std::string origin;
  std::string folded;  ///< folded_scales() of the checkpoint
  mutable std::mutex trie_mutex;
  mutable std::shared_ptr<const TokenTrie> trie;  ///< of the tokenizer, once somebody has asked for it
};

/// A vector parameter (norm weight, bias) as floats; an error names the tensor and both shapes.
Result<std::vector<float>> load_vector(const Checkpoint& checkpoint, std::string_view name, int64_t size);
/// A norm's weights and bias as they are multiplied and added: with the config's offset, ones where nothing is stored,
/// heads one after the other where each has its own.
Result<NormWeights> load_norm(const Checkpoint& checkpoint, const TensorSpec& spec, const Config& config,
                              int64_t layer);
/// A matrix parameter by its spec, [rows, cols] as the forward pass wants it.
Result<QTensor> load_matrix(const Checkpoint& checkpoint, const TensorSpec& spec, const Config& config, int64_t layer,
                            int32_t expert = -1);
/// The same where it lies in the file (Checkpoint::plain_matrix); empty when it is no plain matrix there.
Result<std::optional<Array>> plain_matrix(const Checkpoint& checkpoint, const TensorSpec& spec, const Config& config,
                                          int64_t layer, int32_t expert = -1);
/// The bias of a linear or norm: empty when the spec has none, or an optional one is absent.
Result<std::vector<float>> load_bias(const Checkpoint& checkpoint, const TensorSpec& spec, const Config& config,
                                     int64_t layer, int32_t expert = -1);
/// What turns tokens into the first residual stream: embeddings, positions, and what stands behind them. No layers.
Result<Weights> load_front(const Checkpoint& checkpoint, const Architecture& arch, const Config& config,
                           const ComputeOptions& compute);
Result<Weights> load_weights(const Checkpoint& checkpoint, const Architecture& arch, const Config& config,
                             const ComputeOptions& compute, const ProgressFn& progress);

/// The whole position-embedding table [max_positions, hidden], or empty when the architecture has none.
Result<std::vector<float>> load_positions(const Checkpoint& checkpoint, const Architecture& arch, const Config& config);

}  // namespace nbl::model
