// Decoders: pieces back to text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace nbl::text {

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Rewrites the pieces; their concatenation is the text.
  virtual Status apply(std::vector<std::string>& pieces) const = 0;
};

/// From the "decoder" member of a tokenizer.json; null gives a null pointer (pieces joined by spaces).
Result<std::unique_ptr<Decoder>> parse_decoder(const Json& json);

std::unique_ptr<Decoder> make_byte_level_decoder();
/// Sentencepiece's: U+2581 is a space, <0xXX> a byte, and the space put before the text is taken off again.
Result<std::unique_ptr<Decoder>> make_metaspace_decoder(bool prefix);

}  // namespace nbl::text
