// How GGUF's names for pre-tokenizers (tokenizer.ggml.pre) cut text.
#pragma once

#include <span>
#include <string_view>

#include "base/status.h"

namespace nbl::text {

struct GgufSplits {
  std::span<const std::string_view> patterns;  ///< applied in order, each to the pieces of the last; matches are isolated
  bool ignore_merges = false;
  bool add_bos = false;  ///< when the file does not say
};

/// Code::unsupported for names that are not known. The patterns live as long as the program.
Result<GgufSplits> gguf_splits(std::string_view name);

}  // namespace nbl::text
