// What is put around the ids of one text when special tokens are asked for.
#pragma once

#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "text/tokenizer.h"

namespace nbl::text {

struct Surround {
  std::vector<TokenId> prefix;
  std::vector<TokenId> suffix;
};

/// From the "post_processor" member of a tokenizer.json (null: nothing is added).
Result<Surround> parse_post_processor(const Json& json);

}  // namespace nbl::text
