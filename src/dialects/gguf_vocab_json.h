// A tokenizer.json as the vocabulary that GGUF's entries describe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace nbl::dialects {

// Values of tokenizer.ggml.token_type.
inline constexpr int32_t kNormalToken = 1, kUnknownToken = 2, kControlToken = 3, kUserToken = 4, kUnusedToken = 5,
                         kByteToken = 6;

struct GgufVocabulary {
  std::string model;  ///< tokenizer.ggml.model: "gpt2", "llama", "t5", "bert"
  std::string pre;    ///< tokenizer.ggml.pre
  std::vector<std::string> tokens, merges;
  std::vector<float> scores;
  std::vector<int32_t> types;
  std::vector<uint8_t> charsmap;
  std::optional<int64_t> bos, eos, unknown, padding;
  bool add_bos = false, add_eos = false;
  std::optional<bool> add_space_prefix;
};

/// Tokens from the id `rows` on are left out. Code::unsupported when GGUF has no name for the model or for the way the text is cut.
Result<GgufVocabulary> vocabulary_of_json(const Json& tokenizer, int64_t rows);

}  // namespace nbl::dialects
