// llama.cpp's mixtures of GGUF block types: one type for most matrices, a wider one where errors cost most.
#pragma once

#include <string_view>

#include "quant/method.h"

namespace nbl::quant {

struct BlockMixture {
  std::string_view name;    ///< "Q4_K_M"
  std::string_view most;    ///< the type of all that no rule names
  std::string_view output;  ///< of the matrix that makes the logits
  double bits;              ///< a weight of the decoder's linears of a Llama, about
};

/// Null when it is no mixture.
const BlockMixture* find_mixture(std::string_view name);

/// The block type of a matrix. The rules are those that llama.cpp's quantizer (llama_tensor_get_type) has for models that are neither
/// Falcon nor mixtures of eight experts; "more bits" go to the first and the last eighth of the layers and to every third between.
std::string_view type_in_mixture(const BlockMixture& mixture, const LinearPlace& place);

}  // namespace nbl::quant
