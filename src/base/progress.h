// Progress of long work, and the way to stop it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/status.h"

namespace nbl {

struct ProgressEvent {
  std::string stage;   ///< what is being done: "calibrate", "quantize", "write", "evaluate"
  std::string detail;  ///< the layer, task or file at hand
  int64_t done = 0;
  int64_t total = 0;  ///< 0 when unknown
};

/// Called from the thread that runs the job. Returning false cancels: the job ends with Code::cancelled, having left
/// nothing half-written behind.
using ProgressFn = std::function<bool(const ProgressEvent&)>;

/// Calls fn when there is one; Code::cancelled when it returned false.
Status report_progress(const ProgressFn& fn, const ProgressEvent& event);

}  // namespace nbl
