#include "base/progress.h"

namespace nbl {

Status report_progress(const ProgressFn& fn, const ProgressEvent& event) {
  if (!fn || fn(event)) return {};
  return {Code::cancelled, event.detail.empty() ? "cancelled during " + event.stage
                                                : "cancelled during " + event.stage + " (" + event.detail + ")"};
}

}  // namespace nbl
