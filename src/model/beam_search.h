// Beam search, step for step that of transformers' generate(num_beams, length_penalty, early_stopping).
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/status.h"
#include "model/model.h"

namespace nbl::model {

struct BeamOptions {
  int64_t beams = 10;
  int64_t returned = 1;  ///< best sequences to return, at most `beams`
  int64_t max_new_tokens = 128;
  double length_penalty = 1;     ///< scores are log probability / length^penalty
  bool early_stopping = false;   ///< end as soon as `beams` sequences have ended; else when none can become better
  bool late_stopping = false;    ///< even by growing to max_new_tokens, where a long text gains by the penalty (early_stopping="never")
  std::vector<text::TokenId> ends;  ///< end-of-sequence tokens
};

struct Beam {
  std::vector<text::TokenId> tokens;  ///< new ones, the end-of-sequence token included
  double score = 0;
  bool ended = false;  ///< by an end-of-sequence token
};

/// Given the generated tokens of the best candidate: true ends the search there, as lm-evaluation-harness's stop
/// strings do.
using BeamStop = std::function<bool(std::span<const text::TokenId> generated)>;

/// The best sequences that continue `session`, best first; `logits` are those after its last token. The session itself stays
/// where it is.
Result<std::vector<Beam>> beam_search(Session& session, std::span<const float> logits, const BeamOptions& options,
                                      const BeamStop& stop);

}  // namespace nbl::model
