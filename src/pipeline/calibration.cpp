#include <fmt/format.h>

#include <algorithm>

#include "base/hash.h"
#include "pipeline/pipeline.h"

namespace nbl::pipeline {

Result<Calibration> make_calibration(const text::Tokenizer& tokenizer, std::string_view text, std::string_view source,
                                     int64_t windows, int64_t length) {
  if (windows < 1 || length < 2) {
    return Status(Code::invalid_argument,
                  fmt::format("calibration needs at least 1 window of 2 tokens, asked for {} of {}", windows, length));
  }
  NBL_ASSIGN(const std::vector<text::TokenId> ids,
             tokenizer.encode(text, {.add_special = false, .parse_special = false}));
  const int64_t count = static_cast<int64_t>(ids.size());
  if (count < 2) {
    return Status(Code::corrupt,
                  fmt::format("the calibration text {} holds {} tokens; at least 2 are needed", source, count));
  }
  Calibration c;
  c.source = source;
  c.text_sha256 = sha256_hex(std::as_bytes(std::span(text.data(), text.size())));
  c.text_tokens = count;
  c.length = std::min(length, count);
  c.windows = std::min(windows, count / c.length);
  c.ids.reserve(static_cast<std::size_t>(c.windows * c.length));
  for (int64_t w = 0; w < c.windows; ++w) {
    // The spare tokens are shared out between the windows: the first starts at 0, the last ends at the text's end.
    const int64_t spare = count - c.windows * c.length;
    const int64_t start = w * c.length + (c.windows > 1 ? spare * w / (c.windows - 1) : 0);
    c.ids.insert(c.ids.end(), ids.begin() + start, ids.begin() + start + c.length);
  }
  return c;
}

}  // namespace nbl::pipeline
