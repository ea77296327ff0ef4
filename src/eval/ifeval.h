// IFEval's instructions (Zhou et al., 2023): what can be checked about an answer by looking at it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace nbl::eval {

/// The 25 ids of the benchmark: "keywords:existence", ...
std::span<const std::string_view> instruction_ids();

/// Whether `response` does what instruction `id` with these arguments asks. not_found: an id that is none of the 25.
Result<bool> follows_instruction(std::string_view id, const Json& arguments, std::string_view response);

/// Strict: the response as it is. Loose: also without its first line, its last line, both, or without asterisks.
Result<std::vector<bool>> follows_instructions(std::span<const std::string> ids, std::span<const Json> arguments,
                                               std::string_view response, bool loose);

/// The language of a text as an ISO 639-1 code, from its script and its commonest words; empty when there are no letters.
/// Knows the languages that the benchmark asks for.
std::string detect_language(std::string_view text);
/// Sentences, by English punctuation and abbreviations.
int64_t count_sentences(std::string_view text);

}  // namespace nbl::eval
