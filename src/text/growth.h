// How long the steps of a normalizer or decoder may make a text: steps that each double it make anything of it.
#pragma once

#include <fmt/format.h>

#include <cstddef>

#include "base/bounds.h"
#include "base/status.h"

namespace nbl::text {

/// Of a step's own input, and of what the first step of a sequence got.
constexpr std::size_t kStepGrowth = 4, kSequenceGrowth = 16;

inline std::size_t most_grown(std::size_t before, std::size_t factor) {
  return static_cast<std::size_t>(bound(Bound::tokenizer_growth_bytes)) + factor * before;
}

inline Status grown_too_long(std::size_t before, std::size_t factor) {
  return {Code::limit, fmt::format("the tokenizer's steps make more than {} bytes of a text of {}", most_grown(before, factor), before)};
}

}  // namespace nbl::text
