// Speed, and what beyond its figures can be asked for: sequences decoded together, and where the time goes.
#pragma once

#include <filesystem>
#include <vector>

#include "eval/eval.h"
#include "model/step_work.h"

namespace nbl::eval {

struct SpeedRequest {
  BenchOptions options;
  int64_t batch = 1;     ///< more than 1: also decode so many sequences together
  bool profile = false;  ///< also say what each operation takes
  bool bandwidth = false;  ///< also decode's share of the memory's bandwidth
  std::vector<int64_t> contexts, batches;  ///< also measure each of these contexts with each of these batches
  std::filesystem::path powercap = "/sys/class/powercap";  ///< where the system tells energy; empty: not measured
};

/// `{prefill[],decode[]}` of {operation, microseconds a step, share, gb_s, gop_s}.
Json profile_json(const model::SessionProfile& profile);

/// measure_speed()'s JSON; with a batch `batch` and `batch_decode_tok_s` (tokens a second of all sequences together, the
/// median); with a profile `profile`, as profile_json() says it, taken in a pass of its own that no other figure counts; with
/// contexts or batches `grid[]` of {context, batch, prefill_tok_s,
/// decode_tok_s, joules_per_token}: prefill of a prompt as long as the context (null where that is 0), then decoding by so many
/// sequences behind it, all their tokens counted. `energy{packages[], prefill_joules_per_token, decode_joules_per_token}` where the
/// system tells energy, else null. With bandwidth `memory_bandwidth` (bytes a second), `bandwidth_share` and `disturbed`: memory is read
/// before and after each repetition's tokens, so that a share compares what followed each other; medians.
Result<Json> report_speed(std::shared_ptr<const model::Model> model, Team& team, const SpeedRequest& request,
                          const ProgressFn& progress);

}  // namespace nbl::eval
