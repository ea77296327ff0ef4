// Sentencepiece's precompiled map of characters: a double-array trie from byte strings to their replacements.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "text/normalizer.h"

namespace nbl::text {

Result<std::string> decode_base64(std::string_view text);

/// With by_grapheme the map is applied as Hugging Face's library does: to whole grapheme clusters of fewer than six
/// bytes first, then to single characters, the shortest entry that fits counting. Without, as sentencepiece does: the
/// longest entry at each place.
Result<std::unique_ptr<Normalizer>> make_charsmap_normalizer(std::string_view raw, bool by_grapheme);

}  // namespace nbl::text
