// Many sessions of one model from many threads, with cancellation, models that are unloaded and long prompts beside short ones:
// what comes out is what one session alone gives, and the memory does not grow.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "support/sanitizers.h"
#include "unit/capi/fixtures.h"

namespace nbl::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kThreads = 8, kSessionsEach = 8, kNewTokens = 6;
constexpr int64_t kRoom = 400;

struct Job {
  std::vector<int32_t> prompt;
  std::vector<int32_t> generated;  // what a session alone makes of it
  std::vector<float> logits;       // of the prompt's last token
};

struct Taken {
  std::vector<int32_t> ids;
  std::size_t stop_after = SIZE_MAX;
};

int32_t take_token(void* user, int32_t id, const char*, size_t) {
  auto* taken = static_cast<Taken*>(user);
  if (id >= 0) taken->ids.push_back(id);
  return taken->ids.size() >= taken->stop_after ? 1 : 0;
}

nbl_status generate(nbl_session* session, const Job& job, Taken* taken) {
  nbl_generate_options options = NBL_GENERATE_OPTIONS_INIT;
  options.max_new_tokens = kNewTokens;
  options.ignore_eos = 1;
  options.on_token = take_token;
  options.on_token_user = taken;
  return nbl_session_generate(session, job.prompt.data(), static_cast<int64_t>(job.prompt.size()), &options, nullptr);
}

std::vector<Job> reference_jobs() {
  const Runtime runtime = make_runtime(1);
  const Model model = open_model(runtime, NBL_COMPUTE_EXACT);
  const auto vocab = static_cast<std::size_t>(nbl_model_vocab_size(model.get()));
  std::mt19937 random(7);
  std::vector<Job> jobs;
  for (const std::size_t length : {1u, 2u, 5u, 17u, 31u, 64u, 65u, 130u, 300u}) {
    Job job;
    for (std::size_t i = 0; i < length; ++i) job.prompt.push_back(static_cast<int32_t>(random() % vocab));
    const Session session = make_session(model, kRoom);
    const float* logits = nullptr;
    int64_t rows = 0;
    EXPECT_NBL_OK(nbl_session_append(session.get(), job.prompt.data(), static_cast<int64_t>(length), NBL_LOGITS_LAST, &logits, &rows));
    job.logits.assign(logits, logits + vocab);
    EXPECT_NBL_OK(nbl_session_truncate(session.get(), 0));
    Taken taken;
    EXPECT_NBL_OK(generate(session.get(), job, &taken));
    job.generated = taken.ids;
    EXPECT_EQ(job.generated.size(), static_cast<std::size_t>(kNewTokens));
    jobs.push_back(std::move(job));
  }
  return jobs;
}

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, resident = 0;
  file >> size >> resident;
  return resident * 4096;
}

/// The model at hand: replaced now and then while sessions of the old one go on.
class SharedModel {
 public:
  explicit SharedModel(const Runtime& runtime) : runtime_(runtime), model_(open_model(runtime, NBL_COMPUTE_EXACT)) {}
  Session session() {
    const std::lock_guard lock(mutex_);
    return make_session(model_, kRoom);
  }
  void replace() {
    Model fresh = open_model(runtime_, NBL_COMPUTE_EXACT);
    const std::lock_guard lock(mutex_);
    model_.swap(fresh);
  }  // the old one is unloaded here, under its sessions

 private:
  const Runtime& runtime_;
  std::mutex mutex_;
  Model model_;
};

struct Counts {
  std::atomic<int64_t> generated{0}, cancelled{0}, appended{0}, replaced{0}, wrong{0}, warm{0};
};

void work(int thread, SharedModel& shared, const std::vector<Job>& jobs, Clock::time_point end, Counts& counts) {
  std::mt19937 random(static_cast<unsigned>(100 + thread));
  std::vector<Session> sessions;
  for (int i = 0; i < kSessionsEach; ++i) sessions.push_back(shared.session());
  const auto wrong = [&](bool is) { counts.wrong += is ? 1 : 0; };
  if (end > Clock::now() + std::chrono::seconds(30)) {  // each session takes what its longest prompt needs before memory is compared
    const Job& longest = jobs.back();
    for (Session& session : sessions) {
      Taken taken;
      wrong(generate(session.get(), longest, &taken) != NBL_OK || taken.ids != longest.generated);
    }
  }
  ++counts.warm;
  for (int round = 0; round < 1 || Clock::now() < end; ++round) {
    Session& session = sessions[random() % sessions.size()];
    const Job& job = jobs[random() % jobs.size()];
    wrong(nbl_session_truncate(session.get(), 0) != NBL_OK);
    const unsigned kind = random() % 16;
    if (kind < 8) {
      Taken taken;
      wrong(generate(session.get(), job, &taken) != NBL_OK || taken.ids != job.generated);
      ++counts.generated;
    } else if (kind < 11) {
      Taken taken;
      taken.stop_after = 1 + random() % kNewTokens;
      wrong(generate(session.get(), job, &taken) != NBL_OK || taken.ids.size() != taken.stop_after ||
            !std::equal(taken.ids.begin(), taken.ids.end(), job.generated.begin()));
      ++counts.cancelled;
    } else if (kind < 14) {
      const float* logits = nullptr;
      int64_t rows = 0;
      wrong(nbl_session_append(session.get(), job.prompt.data(), static_cast<int64_t>(job.prompt.size()), NBL_LOGITS_LAST, &logits,
                               &rows) != NBL_OK ||
            rows != 1 || std::memcmp(logits, job.logits.data(), job.logits.size() * sizeof(float)) != 0);
      ++counts.appended;
    } else {
      session = shared.session();
      if (thread == 0 && kind == 15) {
        shared.replace();
        ++counts.replaced;
      }
    }
  }
}

void run_for(double seconds) {
  const std::vector<Job> jobs = reference_jobs();
  const Runtime runtime = make_runtime(2);
  SharedModel shared(runtime);
  Counts counts;
  const Clock::time_point start = Clock::now();
  const Clock::time_point end = start + std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back([&, t] { work(t, shared, jobs, end, counts); });
  // Sessions come and go, so the memory moves; what is compared are averages over the first and the last third of the time after
  // every session has been used.
  while (counts.warm < kThreads) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const Clock::time_point warm = Clock::now();
  std::vector<double> resident;
  for (int sample = 0; sample < 90 && Clock::now() < end; ++sample) {
    resident.push_back(static_cast<double>(resident_bytes()));
    std::this_thread::sleep_until(warm + (end - warm) * (sample + 1) / 90);
  }
  const std::size_t third = std::max<std::size_t>(resident.size() / 3, 1);
  const auto average = [&](std::size_t from) {
    double sum = 0;
    for (std::size_t i = from; i < std::min(from + third, resident.size()); ++i) sum += resident[i];
    return sum / static_cast<double>(third);
  };
  const double early = average(0), late = average(resident.size() - std::min(third, resident.size()));
  for (std::thread& t : threads) t.join();
  std::printf("%.0f s: %lld generated, %lld cancelled, %lld prompts compared by their logits, %lld models unloaded; resident %.1f MB, then %.1f MB\n",
              seconds, static_cast<long long>(counts.generated), static_cast<long long>(counts.cancelled),
              static_cast<long long>(counts.appended), static_cast<long long>(counts.replaced), early / 1e6, late / 1e6);
  EXPECT_EQ(counts.wrong, 0) << "answers that one session alone would not give";
  EXPECT_GT(counts.generated, 0);
#ifndef NBL_UNDER_SANITIZER
  if (seconds >= 30) {
    EXPECT_LT(late, early * 1.05 + 8e6) << "memory grows";
  }
#endif
}

TEST(Load, SixtyFourSessionsFromEightThreads) { run_for(3); }

TEST(LongLoad, SixtyFourSessionsFromEightThreads) {
  const char* seconds = std::getenv("NIBBLE_LOAD_SECONDS");
  run_for(seconds != nullptr ? std::atof(seconds) : 600);
}

// A token of one session waits for at most the part of a long prompt that is being run when it asks.
TEST(Load, LongPromptLetsOthersInAfterEachPart) {
  const Runtime runtime = make_runtime(2);
  const Model model = open_model(runtime);
  std::atomic<int64_t> parts{0};
  std::atomic<bool> running{true};
  std::thread prefill([&] {
    for (int round = 0; round < 3; ++round) {
      const Session session = make_session(model, 4096);
      nbl_generate_options options = NBL_GENERATE_OPTIONS_INIT;
      options.max_new_tokens = 1;
      options.on_token = [](void* user, int32_t, const char*, size_t) -> int32_t {
        ++*static_cast<std::atomic<int64_t>*>(user);
        return 0;
      };
      options.on_token_user = &parts;
      const std::vector<int32_t> prompt(4000, 5);
      EXPECT_NBL_OK(nbl_session_generate(session.get(), prompt.data(), 4000, &options, nullptr));
    }
    running = false;
  });
  const Session session = make_session(model, 4096);
  int64_t tokens = 0, most = 0;
  const int32_t id = 7;
  for (; running && tokens < 4000; ++tokens) {
    const int64_t before = parts;
    EXPECT_NBL_OK(nbl_session_append(session.get(), &id, 1, NBL_LOGITS_NONE, nullptr, nullptr));
    if (running) most = std::max(most, parts - before);
  }
  prefill.join();
  std::printf("%lld tokens beside %lld parts of prompts; at most %lld parts ended while a token waited\n", static_cast<long long>(tokens),
              static_cast<long long>(parts), static_cast<long long>(most));
  EXPECT_GT(parts, 20) << "the prompts had too few parts to show anything";
  EXPECT_GT(tokens, 3);
  EXPECT_LE(most, 3);  // the one that runs, and those that are counted before the token's thread is awake again
}

}  // namespace
}  // namespace nbl::test
