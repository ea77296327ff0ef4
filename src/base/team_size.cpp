#include "base/team_size.h"

#include <algorithm>

namespace nbl {
namespace {

constexpr int64_t kShortRun = 1'000'000;                ///< nanoseconds; shorter ones say nothing
constexpr int kLeastPatience = 8, kMostPatience = 128;  ///< runs

}  // namespace

void TeamSize::judge(int64_t took, int64_t slept, int64_t idle) noexcept {
  // One that is late keeps all others waiting.
  const int64_t waiting = active_ > 1 ? slept / (active_ - 1) : 0;
  const bool waited = waiting > took / 4 && took > kShortRun;
  if (!suspicious_) {
    if (waited && undisturbed_ >= 0) {
      suspicious_ = true;
    } else if (++undisturbed_ >= patience_ && active_ < threads_) {
      grow();
    }
    return;
  }
  suspicious_ = false;
  // What was neither computed nor slept away was taken.
  const int64_t taken = idle - slept;
  if (waited && taken > waiting / 2) {
    --active_;
    patience_ = std::min(2 * patience_, kMostPatience);
    undisturbed_ = 0;
  } else {
    undisturbed_ = waited ? -kMostPatience : 0;
  }
}

void TeamSize::grow() noexcept {
  ++active_;
  undisturbed_ = 0;
  if (active_ == threads_) patience_ = std::max(patience_ / 2, kLeastPatience);
}

}  // namespace nbl
