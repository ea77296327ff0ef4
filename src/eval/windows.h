// The pieces of text that a perplexity protocol scores.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "eval/eval.h"
#include "text/tokenizer.h"

namespace nbl::eval {

/// Tokens to run from position 0; the logits of rows first_row, first_row + 1, ... predict `targets`.
struct Window {
  std::vector<text::TokenId> input;
  int64_t first_row = 0;
  std::vector<text::TokenId> targets;  ///< input.size() - first_row
};

struct WindowSet {
  std::vector<Window> windows;
  bool bos = false;
  int64_t longest = 0;  ///< input tokens of the longest window
  int64_t tokens = 0;   ///< scored
};

/// `max_positions`: the model's, 0 when unbounded.
Result<WindowSet> make_windows(const text::Tokenizer& tokenizer, std::string_view text, const Protocol& protocol,
                               int64_t max_positions);

}  // namespace nbl::eval
