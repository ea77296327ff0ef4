// How many of its workers a team should use while other programs run beside it.
//
// A worker whose processor another program takes holds up all others at every barrier, and a step may have hundreds of them:
// better to leave that processor to the other program. When workers wait at barriers for a good part of a run, the next run
// measures who was kept from running; when that is why the others waited, the team works with one less, and tries again with
// one more after 0.2 seconds of work, or up to 3.2 when that has failed before. Uneven work, where the others wait for one that
// runs, changes nothing.
#pragma once

#include <cstdint>

namespace nbl {

class TeamSize {
 public:
  explicit TeamSize(int threads) noexcept : threads_(threads), active_(threads) {}

  /// Workers for the next run.
  int active() const noexcept { return active_; }
  /// The next run is to measure how long its workers were off their processors.
  bool suspicious() const noexcept { return suspicious_; }

  /// What the last run took, how long its workers waited at barriers, all together, and how long they were kept from running
  /// (known after suspicious() only). Nanoseconds.
  void judge(int64_t took, int64_t waited, int64_t taken) noexcept;

 private:
  int threads_, active_;
  int64_t undisturbed_ = 0;           ///< nanoseconds of runs since active_ changed; negative: not suspicious for so long
  int64_t patience_ = kLeastPatience;  ///< after so long one more worker is tried
  bool suspicious_ = false;
  static constexpr int64_t kLeastPatience = 200'000'000, kMostPatience = 3'200'000'000;
};

}  // namespace nbl
