// What GGUF calls things, per architecture: data only. Names and configuration keys of the Hugging Face checkpoint on
// the other side.
#pragma once

#include <span>
#include <string_view>

namespace nbl::dialects {

/// What the converters do to a tensor's rows or values on the way into GGUF; reading undoes it.
enum class GgufChange {
  none,
  permute_q,  ///< rows of each head from half-split to adjacent-pair rotary order
  permute_k,  ///< the same with the key heads
  plus_one,   ///< norm weights stored with 1 added
  neox_qkv,   ///< rows [head, 3, d] become [3, head, d]
};

/// Patterns without ".weight" / ".bias"; "{l}" is the layer.
struct GgufName {
  std::string_view gguf, hf;
  GgufChange change = GgufChange::none;
};

/// A metadata key (after "<arch>.") and the config key of the same meaning.
struct GgufKey {
  std::string_view gguf, hf;
};

struct GgufArch {
  std::string_view id;      ///< general.architecture
  std::string_view config;  ///< JSON object: the config keys that follow from the architecture alone
  std::span<const GgufName> names;
  std::span<const GgufKey> keys;
  std::string_view rotary_key = "partial_rotary_factor";  ///< config key of the share of a head that rotates
  std::span<const GgufKey> flags = {};  ///< a tensor by its GGUF name, and the config key that is true where it is there
  /// Scores are scaled by the root of query_pre_attn_scalar, which metadata does not say: the width of a head, but in the
  /// size of this many blocks the model's width a head. 0: the architecture has no such key.
  int64_t wide_blocks = 0;
};

std::span<const GgufArch> gguf_archs() noexcept;
const GgufArch* gguf_arch(std::string_view id) noexcept;

}  // namespace nbl::dialects
