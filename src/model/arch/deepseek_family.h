// DeepSeek-V2 and V3: latent attention, and mixtures of experts of which some are shared.
#pragma once

#include "model/arch/mixture.h"

namespace nbl::model::arch {

/// What a silent config means.
struct DeepseekDefaults {
  double routed_scaling = 1;
  int64_t dense_layers = 0, shared_experts = 2;
};
/// All but how experts are chosen.
Result<Config> read_deepseek_config(const ConfigReader& reader, std::string_view id,
                                    std::initializer_list<std::string_view> known, const DeepseekDefaults& silent = {});
std::vector<TensorSpec> deepseek_tensors();
std::vector<InputGroup> deepseek_groups();

}  // namespace nbl::model::arch
