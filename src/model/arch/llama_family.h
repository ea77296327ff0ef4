// What Llama and its descendants have in common: names, wiring and most of the config. The readers of config.json's
// shared keys serve the other families too.
#pragma once

#include <vector>

#include "model/arch.h"
#include "model/config_reader.h"
#include "model/rope.h"

namespace nbl::model::arch {

enum class Bias { none, optional, required };

TensorSpec linear(Role role, std::string_view pattern, std::string_view rows, std::string_view cols,
                  Bias bias = Bias::none);

/// A linear whose bias is there exactly when the config sets these bits of Config::variant.
TensorSpec linear_if(Role role, std::string_view pattern, std::string_view rows, std::string_view cols,
                     uint32_t bias_when);
/// A norm over n (a symbol of TensorSpec) components; layer norms may have a bias.
TensorSpec norm(Role role, std::string_view pattern, std::string_view n = "H", Bias bias = Bias::none);
/// The same parameter, of models whose Config::variant has these bits.
TensorSpec when(uint32_t bits, TensorSpec spec);
InputGroup when(uint32_t bits, InputGroup group);

/// The Hugging Face names; `qkv` says whether q, k and v carry biases, `others` the same of the other linears.
std::vector<TensorSpec> llama_tensors(Bias qkv, Bias others);
/// The same and more.
std::vector<TensorSpec> with(std::vector<TensorSpec> tensors, std::vector<TensorSpec> more);
std::vector<InputGroup> llama_groups();

struct LlamaDefaults {
  bool tied = false;  ///< tie_word_embeddings when the config is silent
  RopeKeys rope = {};
  double norm_eps = 1e-6;
  std::string_view norm_eps_key = "rms_norm_eps";
  Norm norm = Norm::rms;
  std::string_view activation = "silu";
  int64_t head_dim = 0;  ///< when the config is silent; 0: hidden_size / num_attention_heads
  int64_t max_positions = 2048;
  bool windows = false;  ///< the caller reads sliding_window, use_sliding_window and layer_types
  int64_t vocab = 0, heads = 0, kv_heads = 0;  ///< when the config is silent; 0: it must not be (kv_heads: as many as heads)
};
/// All but windows: Config::layer is filled with layers that see everything and use the one rope table, adjacent pairs
/// or half-split. `known`: keys that the caller reads though they change the maths in most families.
Result<Config> read_llama_config(const ConfigReader& reader, std::string_view id, const LlamaDefaults& defaults,
                                 std::initializer_list<std::string_view> known = {});
/// Its parts. Dimensions, norm, activation, tying, special tokens; then rope.
Result<Config> read_dimensions(const ConfigReader& reader, std::string_view id, const LlamaDefaults& defaults);
Status read_rope(const ConfigReader& reader, const RopeKeys& keys, Config* config, std::string_view layer_type = {});

/// The entries of layer_types, each one of `known`; empty when the config has no such list.
Result<std::vector<std::string_view>> layer_types(const ConfigReader& reader, int64_t layers,
                                                  std::initializer_list<std::string_view> known);

/// Sets the window of the layers for which `slides` holds, or that layer_types calls "sliding_attention" when the
/// config has that list. Refuses other kinds of layers.
Status apply_windows(const ConfigReader& reader, Config* config, int64_t window, bool (*slides)(const Json&, int64_t));
/// Qwen's rule: use_sliding_window, sliding_window, and from which layer on (max_window_layers).
Status apply_qwen_windows(const ConfigReader& reader, Config* config);
inline bool every_layer(const Json&, int64_t) { return true; }
inline bool no_layer(const Json&, int64_t) { return false; }

}  // namespace nbl::model::arch
