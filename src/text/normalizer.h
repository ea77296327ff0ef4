// Normalizers: what is done to the text before it is cut.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"

namespace nbl::text {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Rewrites valid UTF-8 in place.
  virtual Status apply(std::string& text) const = 0;
  /// Whether apply() takes the first character away and puts nothing in its place.
  virtual bool drops_first(std::string_view text) const {
    (void)text;
    return false;
  }
  /// The same; `at_start` becomes false where what the text begins with then is not what it began with.
  virtual Status apply(std::string& text, bool& at_start) const {
    at_start = at_start && !drops_first(text);
    return apply(text);
  }
};

/// From the "normalizer" member of a tokenizer.json; null gives a null pointer.
Result<std::unique_ptr<Normalizer>> parse_normalizer(const Json& json);

/// Sentencepiece's: every space becomes U+2581, and one is put before the text if asked.
Result<std::unique_ptr<Normalizer>> make_metaspace_normalizer(bool prefix);

}  // namespace nbl::text
