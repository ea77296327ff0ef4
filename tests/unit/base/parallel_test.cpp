#include "base/parallel.h"

#include "base/team_size.h"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <new>
#include <numeric>
#include <thread>
#include <vector>

#include "support/sanitizers.h"

namespace nbl {
namespace {

TEST(Team, EveryWorkerRunsOnce) {
  for (const int n : {1, 2, 3, 7}) {
    Team team(n);
    EXPECT_EQ(team.size(), n);
    std::vector<std::atomic<int>> seen(static_cast<std::size_t>(n));
    team.run([&](Worker& w) {
      EXPECT_EQ(w.count(), n);
      seen[static_cast<std::size_t>(w.index())].fetch_add(1);
    });
    for (const auto& s : seen) EXPECT_EQ(s.load(), 1);
  }
  EXPECT_GE(Team(0).size(), 1);
}

TEST(Team, SharesCoverWithoutOverlap) {
  for (const int threads : {1, 2, 3, 5}) {
    Team team(threads);
    for (const int64_t n : {0, 1, 2, 15, 16, 17, 100, 1000}) {
      for (const int64_t align : {1, 4, 16}) {
        std::vector<std::atomic<int>> hits(static_cast<std::size_t>(n));
        team.run([&](Worker& w) {
          const Range r = w.share(n, align);
          EXPECT_LE(r.begin, r.end);
          EXPECT_TRUE(r.begin % align == 0 || r.begin == n);
          EXPECT_TRUE(r.end % align == 0 || r.end == n);
          for (int64_t i = r.begin; i < r.end; ++i) hits[static_cast<std::size_t>(i)].fetch_add(1);
        });
        for (const auto& h : hits) ASSERT_EQ(h.load(), 1) << n << " by " << align << " on " << threads;
      }
    }
  }
}

TEST(Team, DealsEverythingOnceInEveryPhase) {
  const int64_t sizes[] = {0, 1, 17, 100, 999, 64, 4096};
  for (const int threads : {1, 2, 3, 5}) {
    Team team(threads);
    for (const int64_t align : {1, 16}) {
      std::vector<std::vector<std::atomic<int>>> hits;
      for (const int64_t n : sizes) hits.emplace_back(static_cast<std::size_t>(n));
      const auto deal = [&](Worker& w, std::size_t which, int64_t grain) {
        const int64_t n = sizes[which];
        const Range kept = w.kept_share(n, align, grain);
        bool first = true;
        w.deal(n, align, grain, [&](Range r, bool) {
          EXPECT_LT(r.begin, r.end);
          EXPECT_EQ(r.begin % align, 0);
          if (first && kept.begin < kept.end) {
            EXPECT_EQ(r.begin, kept.begin);
            EXPECT_EQ(r.end, kept.end);
          }
          first = false;
          for (int64_t i = r.begin; i < r.end; ++i) ++hits[which][static_cast<std::size_t>(i)];
        });
      };
      const int runs = 20;
      for (int run = 0; run < runs; ++run) {
        team.run([&](Worker& w) {
          for (std::size_t which = 0; which < std::size(sizes); ++which) {
            deal(w, which, 1 + static_cast<int64_t>(which) * 7);
            if (which % 3 == 1) w.barrier();  // one, two or three are dealt between barriers, the last without one behind it
          }
        });
      }
      for (std::size_t which = 0; which < std::size(sizes); ++which)
        for (const auto& h : hits[which]) EXPECT_EQ(h.load(), runs);
    }
  }
}

TEST(Team, BarrierPublishesWrites) {
  for (const int threads : {1, 2, 3, 4}) {
    Team team(threads);
    const auto count = static_cast<std::size_t>(threads);
    std::vector<int> slots(count, 0);  // plain ints: only the barrier orders them
    std::atomic<int> wrong{0};
    team.run([&](Worker& w) {
      for (int round = 1; round <= 200; ++round) {
        slots[static_cast<std::size_t>(w.index())] = round;
        w.barrier();
        for (const int s : slots) wrong += s != round;
        w.barrier();
      }
    });
    EXPECT_EQ(wrong.load(), 0) << threads;
  }
}

TEST(Team, ParallelForChunksDependOnSizeAndGrainAlone) {
  std::vector<std::pair<int64_t, int64_t>> expected;
  for (const int threads : {1, 2, 3}) {
    Team team(threads);
    std::vector<std::pair<int64_t, int64_t>> chunks(1003 / 100);
    team.parallel_for(1003, 100, [&](int64_t b, int64_t e) { chunks[static_cast<std::size_t>(b / 100)] = {b, e}; });
    if (expected.empty()) expected = chunks;
    EXPECT_EQ(chunks, expected);
    EXPECT_EQ(chunks.back(), (std::pair<int64_t, int64_t>(900, 1003)));
    int calls = 0;
    team.parallel_for(0, 8, [&](int64_t, int64_t) { ++calls; });
    EXPECT_EQ(calls, 0);
    team.parallel_for(5, 8, [&](int64_t b, int64_t e) { calls += b == 0 && e == 5; });
    EXPECT_EQ(calls, 1);
  }
}

TEST(Team, ReductionByChunkIsTheSameForAnyThreadCount) {
  std::vector<float> data(100001);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = 1.0F / static_cast<float>(i + 1);
  std::vector<float> sums;
  for (const int threads : {1, 2, 3, 6}) {
    Team team(threads);
    std::vector<float> slots(data.size() / 1000);
    team.parallel_for(static_cast<int64_t>(data.size()), 1000, [&](int64_t b, int64_t e) {
      slots[static_cast<std::size_t>(b / 1000)] = std::accumulate(data.begin() + b, data.begin() + e, 0.0F);
    });
    sums.push_back(std::accumulate(slots.begin(), slots.end(), 0.0F));
  }
  for (const float s : sums) EXPECT_EQ(s, sums.front());
}

TEST(Team, WhatAChunkThrowsIsThrownToTheCallerOnceAllAreDone) {
  for (const int threads : {1, 2, 3}) {
    Team team(threads);
    std::atomic<int> running{0}, begun{0};
    const auto chunk = [&](int64_t begin, int64_t) {
      ++running;
      ++begun;
      if (begin == 17) {
        --running;
        throw std::bad_alloc();
      }
      --running;
    };
    EXPECT_THROW(team.parallel_for(1000, 1, chunk), std::bad_alloc) << threads;
    EXPECT_EQ(running.load(), 0);
    EXPECT_LE(begun.load(), 1000);
    std::atomic<int64_t> sum{0};
    team.parallel_for(1000, 1, [&](int64_t begin, int64_t) { sum += begin; });
    EXPECT_EQ(sum.load(), 999 * 500) << "the team still works";
  }
}

TEST(Team, FarMoreThreadsThanProcessors) {
  Team team(64);
  std::atomic<int64_t> sum{0};
  for (int round = 0; round < 5; ++round) {
    team.run([&](Worker& w) {
      w.barrier();
      const Range r = w.share(1000, 3);
      sum += r.end - r.begin;
      w.barrier();
    });
  }
  EXPECT_EQ(sum.load(), 5000);
}

TEST(Team, CallersTakeTurns) {
  Team team(2);
  std::atomic<int> inside{0};
  std::atomic<int> overlaps{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        team.run([&](Worker& w) {
          if (w.index() == 0 && inside.fetch_add(1) != 0) overlaps.fetch_add(1);
          w.barrier();
          if (w.index() == 0) inside.fetch_sub(1);
        });
      }
    });
  }
  for (std::thread& t : callers) t.join();
  EXPECT_EQ(overlaps.load(), 0);
}

TEST(Team, ATeamInsideAnotherStillCoversItsWork) {
  Team outer(2);
  Team inner(3);
  std::atomic<int64_t> sum{0};
  outer.run([&](Worker&) {
    inner.run([&](Worker& w) {
      const Range r = w.share(90);
      w.barrier();
      sum += r.end - r.begin;
    });
  });
  EXPECT_EQ(sum.load(), 180);
}

#ifndef NBL_UNDER_THREAD_SANITIZER  // which does not follow a forked child that starts threads
TEST(Team, WorksInAForkedChild) {
  Team team(3);
  std::atomic<int64_t> sum{0};
  const auto work = [&] {
    sum = 0;
    team.run([&](Worker& w) {
      const Range r = w.share(1000);
      w.barrier();
      sum += r.end - r.begin;
    });
    return sum.load() == 1000;
  };
  ASSERT_TRUE(work());
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::alarm(20);  // ends a child that hangs
    ::_exit(work() && work() ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  EXPECT_TRUE(work());
}
#endif

TEST(Team, BarriersFetchWhatIsReadNextAndStillMeet) {
  Team team(2);
  std::vector<uint8_t> data(1 << 20, 3);
  std::vector<int64_t> sums(2);
  team.run([&](Worker& w) {
    for (int round = 0; round < 200; ++round) {
      const Range mine = w.share(static_cast<int64_t>(data.size()) / 64, 64);
      w.barrier({data.data() + mine.begin, mine.end - mine.begin});
      sums[static_cast<std::size_t>(w.index())] += data[static_cast<std::size_t>(mine.begin)];
    }
    w.barrier({});
  });
  EXPECT_EQ(sums[0], 600);
}

constexpr int64_t kMs = 1'000'000;

TEST(TeamSize, LeavesAProcessorThatAnotherProgramTakesAndComesBack) {
  TeamSize size(4);
  size.judge(20 * kMs, 0, 0);
  EXPECT_EQ(size.active(), 4);
  EXPECT_FALSE(size.suspicious());
  size.judge(20 * kMs, 30 * kMs, 0);  // three waited half of the run for one
  EXPECT_TRUE(size.suspicious());
  EXPECT_EQ(size.active(), 4);
  size.judge(20 * kMs, 30 * kMs, 40 * kMs);  // and that one was off its processor for the time
  EXPECT_EQ(size.active(), 3);
  int runs = 0;
  while (size.active() < 4 && runs < 1000) {
    size.judge(20 * kMs, 0, 0);
    ++runs;
  }
  EXPECT_EQ(size.active(), 4);
  EXPECT_GE(runs, 10);
  // Where that fails again and again, it is tried ever more seldom.
  int last = runs;
  for (int again = 0; again < 6; ++again) {
    ASSERT_TRUE(size.suspicious());  // a try is judged at once
    size.judge(20 * kMs, 30 * kMs, 40 * kMs);
    ASSERT_EQ(size.active(), 3);
    for (runs = 0; size.active() < 4 && runs < 1000; ++runs) size.judge(20 * kMs, 0, 0);
    EXPECT_GE(runs, last);
    last = std::min(runs, 160);
  }
}

TEST(TeamSize, KeepsItsWorkersWhenTheWorkIsUneven) {
  TeamSize size(2);
  for (int run = 0; run < 1000; ++run) {
    size.judge(20 * kMs, 10 * kMs, 0);  // for one that computed all the time
    ASSERT_EQ(size.active(), 2);
  }
}

TEST(TeamSize, IgnoresShortRunsAndNeverGoesBelowOneWorker) {
  TeamSize two(2);
  for (int run = 0; run < 100; ++run) two.judge(kMs / 2, kMs / 2, kMs);
  EXPECT_EQ(two.active(), 2);
  for (int run = 0; run < 100; ++run) {
    two.judge(20 * kMs, 15 * kMs, 30 * kMs);
    ASSERT_GE(two.active(), 1);
    ASSERT_LE(two.active(), 2);
  }
}

}  // namespace
}  // namespace nbl
