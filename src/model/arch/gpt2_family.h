// What GPT-2 and GPTBigCode have in common.
#pragma once

#include "model/arch/llama_family.h"

namespace nbl::model::arch {

/// As many key-value heads as heads. Learned positions.
Result<Config> read_gpt2_config(const ConfigReader& reader, std::string_view id, std::string_view activation,
                                std::initializer_list<std::string_view> known);
std::vector<TensorSpec> gpt2_tensors();
/// `values`: whether the values before the output projection can take its scales.
std::vector<InputGroup> gpt2_groups(InputGroup::Producer values);

}  // namespace nbl::model::arch
