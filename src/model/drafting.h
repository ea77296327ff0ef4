// Speculative decoding's drafts: tokens that are likely to come, to be checked several at a time.
//
// A draft never decides anything: the model chooses every token from its own logits with its own randomness, and a
// drafted token is kept when it is the one that was chosen. So the text is the one that plain decoding gives.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "model/generation.h"

namespace nbl::model {

class Drafter {
 public:
  Drafter(Session& session, const GenerateOptions& options) : session_(session), options_(options) {}

  /// `step` holds the token that follows the session's; appends at most `most` drafted ones.
  Status propose(Sampler& sampler, int64_t most, std::vector<text::TokenId>& step);
  /// How many of the drafted tokens were right: the next draft is as long as that makes worth while.
  void learn(std::size_t drafted, std::size_t right);

 private:
  void look_up(int64_t most, std::vector<text::TokenId>& step) const;
  Status ask(Sampler& sampler, int64_t most, std::vector<text::TokenId>& step);

  Session& session_;
  const GenerateOptions& options_;
  int64_t length_ = 0;  ///< of the next draft; 0: not known yet
};

/// Code::mismatch when the draft model's vocabulary is not the session's.
Status check_draft(const Session& session, const GenerateOptions& options);

}  // namespace nbl::model
