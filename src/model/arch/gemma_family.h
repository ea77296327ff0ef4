// What the Gemmas have in common: norms that store w - 1, embeddings scaled by the root of their width, tanh GELU.
#pragma once

#include "model/arch/llama_family.h"

namespace nbl::model::arch {

/// What a silent config means; 0: it must speak.
struct GemmaSizes {
  int64_t vocab = 0, heads = 0, kv_heads = 0, max_positions = 8192;
};
/// All but rope and windows.
Result<Config> read_gemma_config(const ConfigReader& reader, std::string_view id,
                                 std::initializer_list<std::string_view> known, const GemmaSizes& silent = {});
/// Caps on scores and logits, absent: `score_cap` and `logit_cap`; scale from query_pre_attn_scalar.
Status read_gemma_caps(const ConfigReader& reader, double score_cap, double logit_cap, Config* config);
/// Llama's tensors with norms before and behind each block.
std::vector<TensorSpec> gemma2_tensors();

}  // namespace nbl::model::arch
