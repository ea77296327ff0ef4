// What mixtures of experts have in common.
#pragma once

#include "model/arch/llama_family.h"

namespace nbl::model::arch {

/// Experts, their number and width, which layers have them: decoder_sparse_step and mlp_only_layers (Qwen).
Status read_qwen_experts(const ConfigReader& reader, Config* config);
/// The tensors of the mixture, by their patterns.
std::vector<TensorSpec> expert_tensors(std::string_view router, std::string_view gate, std::string_view up,
                                       std::string_view down);
std::vector<InputGroup> expert_groups();
std::vector<InputGroup> with(std::vector<InputGroup> groups, std::vector<InputGroup> more);
/// The bounds of count, per_token and groups.
Status check_experts(const ConfigReader& reader, const Config& config, std::string_view count_key);

}  // namespace nbl::model::arch
