// What sentencepiece does to a text before cutting it: its character map, white space, the space put before the text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/normalizer.h"

namespace nbl::text {

struct SentencepieceNormalizerOptions {
  std::string charsmap;                   ///< raw; may be empty
  std::vector<std::string> user_defined;  ///< kept as they are
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;  ///< at both ends, and repeated ones
  bool escape_whitespaces = true;        ///< spaces become U+2581
};

Result<std::unique_ptr<Normalizer>> make_sentencepiece_normalizer(SentencepieceNormalizerOptions options);

}  // namespace nbl::text
