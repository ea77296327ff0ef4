// How the text is cut before byte-level BPE, by the names that GGUF files give (tokenizer.ggml.pre).
#pragma once

#include <span>
#include <string_view>

#include "base/status.h"

namespace nbl::text {

struct GgufPreTokenizer {
  std::string_view name;
  std::span<const std::string_view> patterns;  ///< applied one after the other, matches cut out
  bool ignore_merges = false;                  ///< a piece that is in the vocabulary is taken whole
  bool add_bos = false;                        ///< when the file does not say
  bool characters = false;  ///< pieces are UTF-8 with U+2581 for spaces, as sentencepiece has them, and not bytes in disguise
};

std::span<const GgufPreTokenizer> gguf_pre_tokenizers() noexcept;
/// Code::unsupported for a name that is not there.
Result<const GgufPreTokenizer*> find_gguf_pre_tokenizer(std::string_view name);

}  // namespace nbl::text
