// The one place that knows threads (std::thread's, or OpenMP's: team.h). A runtime owns one Team; work is written SPMD:
// every worker of the team runs the same function, takes its share by its index, and meets the others at barriers.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace nbl {

/// A non-owning reference to a callable: no allocation, valid only while the callable lives.
template <class Signature>
class FunctionRef;
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F, class = std::enable_if_t<!std::is_same_v<std::decay_t<F>, FunctionRef>>>
  FunctionRef(F&& f) noexcept  // NOLINT(google-explicit-constructor): that is its purpose
      : object_(const_cast<void*>(static_cast<const void*>(&f))), call_([](void* o, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(o))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

struct Range {
  int64_t begin = 0;
  int64_t end = 0;
};

/// Memory that a worker will read next.
struct Ahead {
  const uint8_t* at = nullptr;
  int64_t bytes = 0;
};

class Team;

/// One thread's view of a running team. Passed by reference to the function that Team::run executes.
class Worker {
 public:
  int index() const noexcept { return index_; }
  int count() const noexcept { return count_; }

  /// Waits until every worker of the team has come here. Everything written before is visible to all after.
  void barrier() noexcept { barrier(Ahead{}); }
  /// The same; fetches into its cache, as long as it waits, the beginning of what it will read next.
  void barrier(Ahead ahead) noexcept;

  /// This worker's contiguous share of [0, n): whole multiples of `align`, but for the last.
  Range share(int64_t n, int64_t align = 1) const noexcept;

  /// Calls fn(range) for ranges that together with the other workers' make [0, n), each of whole multiples of `align` but for the last.
  /// A worker's first range is its share of most of them, where kept_share() begins; what is left is dealt out in pieces of at least
  /// `grain` as workers come for them, so that none waits long for another whose memory or processor is slower. Who gets which differs
  /// from run to run: for work whose results do not depend on that. Every worker deals the same between two barriers.
  /// `last`: the worker gets nothing more, as far as can be said.
  void deal(int64_t n, int64_t align, int64_t grain, FunctionRef<void(Range, bool last)> fn) noexcept;
  /// The first range that deal(n, align, grain) gives to this worker.
  Range kept_share(int64_t n, int64_t align, int64_t grain) const noexcept;

 private:
  friend class Team;
  Worker(Team& team, int index, int count) noexcept : team_(team), index_(index), count_(count) {}
  /// The next of `count` pieces that no other worker has, or -1.
  int64_t take(int64_t count) noexcept;

  Team& team_;
  int index_;
  int count_;
  int64_t passed_ = 0;  ///< pieces of what was dealt before since the last barrier
  int64_t held_ = -1;   ///< a piece taken that belongs to what is dealt next
};

/// A fixed number of threads. run() may be called from any thread; calls at the same time take turns in the order they came.
/// Functions given to it must not call run() of the same team.
class Team {
 public:
  /// threads <= 0: one per processor that this process may use.
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const noexcept;

  /// Runs fn(worker) once on every worker and returns when all are done. There may be fewer workers than size() when
  /// the system gives fewer threads: worker.count() says how many there are. fn must not throw: others may wait for it at a barrier.
  void run(FunctionRef<void(Worker&)> fn);

  /// Splits [0, n) into chunks of at least `grain` and runs fn(begin, end) on them. The chunks' bounds depend on n and
  /// grain alone, so a reduction that keeps one slot a chunk gives the same bytes for any number of threads: chunk
  /// begin / grain, of max(1, n / grain) chunks, the last of which takes the remainder too. When fn throws (memory ran out), no
  /// further chunks are begun, and the first exception is thrown here once all workers are done.
  void parallel_for(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t)> fn);

 private:
  friend class Worker;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace nbl
