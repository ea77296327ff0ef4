// What Llama and its descendants have in common: names, wiring and most of the config.
#pragma once

#include <vector>

#include "model/arch.h"
#include "model/config_reader.h"

namespace nbl::model::arch {

enum class Bias { none, optional, required };

/// The Hugging Face names; `qkv` says whether q, k and v carry biases, `others` the same of the other linears.
std::vector<TensorSpec> llama_tensors(Bias qkv, Bias others);
std::vector<InputGroup> llama_groups();

struct LlamaDefaults {
  bool tied = false;  ///< tie_word_embeddings when the config is silent
  double rope_theta = 10000;
  double norm_eps = 1e-6;
  std::string_view activation = "silu";
};
/// All but windows: Config::layer is filled with layers that see everything and use the one rope table.
Result<Config> read_llama_config(const ConfigReader& reader, std::string_view id, const LlamaDefaults& defaults);

/// Sets the window of the layers for which `slides` holds, or that layer_types calls "sliding_attention" when the
/// config has that list. Refuses other kinds of layers.
Status apply_windows(const ConfigReader& reader, Config* config, int64_t window, bool (*slides)(const Json&, int64_t));

}  // namespace nbl::model::arch
