// DeepSeek-V2 and V3: latent attention, and mixtures of experts of which some are shared.
#pragma once

#include "model/arch/mixture.h"

namespace nbl::model::arch {

/// All but how experts are chosen.
Result<Config> read_deepseek_config(const ConfigReader& reader, std::string_view id,
                                    std::initializer_list<std::string_view> known);
std::vector<TensorSpec> deepseek_tensors();
std::vector<InputGroup> deepseek_groups();

}  // namespace nbl::model::arch
