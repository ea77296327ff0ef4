#include "base/team_size.h"

#include <algorithm>

namespace nbl {
namespace {

constexpr int64_t kShortRun = 1'000'000;  ///< nanoseconds; shorter ones say nothing

}  // namespace

void TeamSize::judge(int64_t took, int64_t waited, int64_t taken) noexcept {
  // One that is late keeps all others waiting.
  const int64_t each = active_ > 1 ? waited / (active_ - 1) : 0;
  const bool lost = each > took / 4 && took > kShortRun;
  if (!suspicious_) {
    if (lost && undisturbed_ >= 0) {
      suspicious_ = true;
      return;
    }
    undisturbed_ += took;
    if (undisturbed_ >= patience_ && active_ < threads_) {
      // A try like this has failed before: judged at once.
      ++active_;
      undisturbed_ = 0;
      suspicious_ = true;
    }
    return;
  }
  suspicious_ = false;
  if (lost && taken > each / 2) {
    --active_;
    patience_ = std::min(2 * patience_, kMostPatience);
    undisturbed_ = 0;
  } else {
    undisturbed_ = lost ? -kMostPatience : 0;
    if (active_ == threads_) patience_ = std::max(patience_ / 2, kLeastPatience);
  }
}

}  // namespace nbl
