// What would spoil hours of work, looked for before they are spent.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/progress.h"
#include "base/status.h"
#include "tensor/checkpoint.h"

namespace nbl::pipeline {

struct Check {
  std::string name;    ///< "tokenizer", "nan", ...
  std::string status;  ///< "ok", "warning", "fail", "skipped"
  std::string detail;  ///< one sentence: what was found, and what to do
};

struct DoctorOptions {
  std::string_view calibration_text;  ///< empty: that check is skipped
  std::string_view calibration_source;
  int64_t windows = 128, length = 512;  ///< of the calibration that is planned
  std::string output_directory;         ///< where the result is to go; empty: beside the model
};

/// Examines a checkpoint: "architecture", "tokenizer", "bos", "eos", "template", "nan", "dead_channels", "calibration",
/// "memory", "disk", in this order. Reads every weight once. An error only when it is cancelled: what cannot be read is
/// a failed check.
Result<std::vector<Check>> examine(const Checkpoint& checkpoint, const DoctorOptions& options,
                                   const ProgressFn& progress);

}  // namespace nbl::pipeline
