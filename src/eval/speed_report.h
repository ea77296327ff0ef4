// Speed, and what beyond its figures can be asked for: sequences decoded together, and where the time goes.
#pragma once

#include "eval/eval.h"
#include "model/step_work.h"

namespace nbl::eval {

struct SpeedRequest {
  BenchOptions options;
  int64_t batch = 1;     ///< more than 1: also decode so many sequences together
  bool profile = false;  ///< also say what each operation takes
};

/// `{prefill[],decode[]}` of {operation, microseconds a step, share, gb_s, gop_s}.
Json profile_json(const model::SessionProfile& profile);

/// measure_speed()'s JSON; with a batch `batch` and `batch_decode_tok_s` (tokens a second of all sequences together, the
/// median); with a profile `profile`, as profile_json() says it, taken in a pass of its own that no other figure counts.
Result<Json> report_speed(std::shared_ptr<const model::Model> model, Team& team, const SpeedRequest& request,
                          const ProgressFn& progress);

}  // namespace nbl::eval
