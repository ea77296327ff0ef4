// What GGUF calls things, per architecture: data only. Names and configuration keys of the Hugging Face checkpoint on
// the other side.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace nbl::dialects {

/// What the converters do to a tensor's rows or values on the way into GGUF; reading undoes it.
enum class GgufChange {
  none,
  permute_q,  ///< rows of each head from half-split to adjacent-pair rotary order
  permute_k,  ///< the same with the key heads
  plus_one,   ///< norm weights stored with 1 added
  neox_qkv,   ///< rows [head, 3, d] become [3, head, d]
  group_qkv,  ///< rows [key head, its query heads + 2, d] become all queries, then keys, then values
  flat,       ///< a matrix of one row, stored as a vector of F32
};

/// Patterns without ".weight" / ".bias", or the whole name where only one of the two is there; "{l}" is the layer. Where `hf` has
/// "{e}", GGUF holds the matrices of all experts as one tensor of three dimensions, experts slowest.
struct GgufName {
  std::string_view gguf, hf;
  GgufChange change = GgufChange::none;
};

/// A metadata key (after "<arch>.") and the config key of the same meaning; a dot in the latter leads into an object, and one that
/// begins with "=" is the number that every model of the architecture has.
struct GgufKey {
  std::string_view gguf, hf;
};

struct GgufArch {
  std::string_view id;      ///< general.architecture
  /// JSON object: the config keys that follow from the architecture alone. A config that says otherwise is not of this architecture.
  std::string_view config;
  std::span<const GgufName> names;
  std::span<const GgufKey> keys;
  std::string_view rotary_key = "partial_rotary_factor";  ///< config key of the share of a head that rotates; empty: a key gives their number
  std::span<const GgufKey> flags = {};  ///< a tensor by its GGUF name, and the config key that is true where it is there
  /// Scores are scaled by the root of query_pre_attn_scalar, which metadata does not say: the width of a head, but in the
  /// size of this many blocks the model's width a head. 0: the architecture has no such key.
  int64_t wide_blocks = 0;
  bool capped = false;  ///< scores and logits are always capped
  /// Files of one id that are different models: this one has a tensor whose name ends so. Empty: the one that is left.
  std::string_view marker = {};
  /// What llama.cpp expects in every layer (pattern of a GGUF name with suffix); models that have it in some are refused.
  std::string_view every_layer = {};
  int64_t rotated = 0;  ///< where rotary_key is empty: components that rotate when the config does not say
  double share = 1;  ///< of a head that rotates where a config does not have rotary_key
  /// What `config` says instead in files whose metadata have a sliding window. Empty: the same.
  std::string_view windowed = {};
  /// What a config of a published model leaves out, as it is meant. Empty: they say everything.
  std::string_view silent = {};
};

std::span<const GgufArch> gguf_archs() noexcept;
/// The ids, each once, as a list for messages.
std::string gguf_arch_ids();

}  // namespace nbl::dialects
