// The published pre-tokenization expressions, written out as loops: each gives the same pieces as its regular
// expression.
#pragma once

#include <optional>
#include <string_view>

#include "base/parallel.h"

namespace nbl::text {

enum class ScannerKind {
  gpt2,    ///< GPT-2's
  llama3,  ///< numbers of up to three digits
  qwen2,   ///< single digits
};

/// The scanner equivalent to a Split pattern (isolated), if there is one.
std::optional<ScannerKind> scanner_for_pattern(std::string_view pattern);

inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Cuts valid text into pieces that cover it.
bool scan(ScannerKind kind, std::string_view text, FunctionRef<bool(std::string_view)> out);

}  // namespace nbl::text
