// The metadata of a GGUF vocabulary as a document whose lists, a hundred thousand entries, stay where the parser left them.
#pragma once

#include <array>
#include <memory>
#include <string_view>

#include "base/json_document.h"
#include "text/tokenizer.h"

namespace nbl::text {

inline constexpr std::string_view kGgufTokens = "tokenizer.ggml.tokens";
/// The tables of JsonDocument::parse().
inline constexpr std::array<std::string_view, 4> kGgufTables = {kGgufTokens, "tokenizer.ggml.token_type", "tokenizer.ggml.scores",
                                                                "tokenizer.ggml.merges"};

/// As load_tokenizer_gguf() of a value.
Result<std::unique_ptr<Tokenizer>> load_tokenizer_gguf(const JsonDocument& metadata, std::string_view origin);

}  // namespace nbl::text
