// Beam search, step for step that of transformers' generate(num_beams, length_penalty = 1, early_stopping = False).
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/parallel.h"
#include "base/status.h"
#include "model/model.h"

namespace nbl::eval {

struct BeamOptions {
  int64_t beams = 10;
  int64_t max_new_tokens = 128;
  std::vector<text::TokenId> ends;  ///< end-of-sequence tokens
};

/// Given the generated tokens of the best candidate: true ends the search there, as lm-evaluation-harness's stop
/// strings do.
using BeamStop = std::function<bool(std::span<const text::TokenId> generated)>;

/// The best finished sequence's new tokens.
Result<std::vector<text::TokenId>> beam_search(std::shared_ptr<const model::Model> model, Team& team,
                                               std::span<const text::TokenId> prompt, const BeamOptions& options,
                                               const BeamStop& stop);

}  // namespace nbl::eval
