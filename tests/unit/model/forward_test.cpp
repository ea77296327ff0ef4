// The forward pass on small random models: against double precision, and against itself in other company.
#include <gtest/gtest.h>

#include <cstring>

#include "counting_new.h"
#include "memory_checkpoint.h"
#include "model/model.h"
#include "reference_model.h"
#include "support/test_isa.h"

namespace nbl::model {
namespace {

using test::MemoryCheckpoint;
using test::model_kinds;
using Want = Session::Logits;
using Ids = std::vector<text::TokenId>;

std::shared_ptr<const Model> load(const MemoryCheckpoint& checkpoint, Compute compute, Isa isa = nbl::test::test_isa()) {
  ModelOptions options;
  options.compute = {compute, isa};
  Team team(1);
  auto model = Model::load(checkpoint, options, team, {});
  EXPECT_TRUE(model.ok()) << model.status().message();
  return model.ok() ? *model : nullptr;
}

Ids random_ids(int64_t count, int64_t vocab, uint64_t seed) {
  Random random(seed);
  Ids ids;
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<text::TokenId>(random.below(static_cast<uint64_t>(vocab))));
  return ids;
}

std::vector<float> all_logits(const std::shared_ptr<const Model>& model, Team& team, const Ids& ids, int64_t step = 0) {
  auto session = Session::create(model, team, static_cast<int64_t>(ids.size()));
  EXPECT_TRUE(session.ok()) << session.status().message();
  std::vector<float> out;
  const std::size_t n = step == 0 ? ids.size() : static_cast<std::size_t>(step);
  for (std::size_t i = 0; i < ids.size(); i += n) {
    auto logits = (*session)->append(std::span(ids).subspan(i, std::min(n, ids.size() - i)), Want::all);
    EXPECT_TRUE(logits.ok()) << logits.status().message();
    out.insert(out.end(), logits->begin(), logits->end());
  }
  return out;
}

TEST(Forward, EqualsDoublePrecision) {
  Team team(2);
  for (const auto& [name, config] : model_kinds()) {
    const MemoryCheckpoint checkpoint(config, 7);
    const auto model = load(checkpoint, Compute::exact);
    ASSERT_NE(model, nullptr) << name;
    const Ids ids = random_ids(40, model->config().vocab, 3);
    const auto arch = find_architecture(config, "test");
    const auto want = test::ReferenceModel(checkpoint, model->config(), **arch).logits(ids);
    const auto got = all_logits(model, team, ids);
    const std::size_t vocab = static_cast<std::size_t>(model->config().vocab);
    double largest = 0, worst = 0;
    for (std::size_t t = 0; t < ids.size(); ++t)
      for (std::size_t v = 0; v < vocab; ++v) {
        largest = std::max(largest, std::fabs(want[t][v]));
        worst = std::max(worst, std::fabs(want[t][v] - got[t * vocab + v]));
      }
    EXPECT_LT(worst, 2e-5 * largest) << name;
    EXPECT_GT(largest, 1) << name << ": logits too small to say anything";
  }
}

TEST(Forward, EveryInstructionSetAgrees) {
  Team team(1);
  for (const auto& [name, config] : model_kinds()) {
    const MemoryCheckpoint checkpoint(config, 7);
    const Ids ids = random_ids(20, 90, 3);
    const auto reference = all_logits(load(checkpoint, Compute::exact, Isa::scalar), team, ids);
    for (Isa isa : usable_isas()) {
      const auto got = all_logits(load(checkpoint, Compute::exact, isa), team, ids);
      for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], reference[i], 1e-4) << name << " on " << isa_name(isa) << " at " << i;
    }
  }
}

TEST(Forward, ExactModeGivesTheSameBytesForAnyThreadsAndSteps) {
  for (const auto& [name, config] : model_kinds()) {
    const MemoryCheckpoint checkpoint(config, 11);
    const auto model = load(checkpoint, Compute::exact);
    // Once longer than a prefill step, so that a prompt is cut as well.
    const Ids ids = random_ids(name == "llama" ? 270 : 75, model->config().vocab, 5);
    Team one(1);
    const auto reference = all_logits(model, one, ids);
    const auto same = [&, model_name = name](const std::vector<float>& got, const std::string& what) {
      ASSERT_EQ(got.size(), reference.size());
      EXPECT_EQ(std::memcmp(got.data(), reference.data(), got.size() * 4), 0) << model_name << ": " << what;
    };
    for (int threads : {2, 3}) {
      Team team(threads);
      same(all_logits(model, team, ids), std::to_string(threads) + " threads");
      if (threads == 2) same(all_logits(model, team, ids, 1), "2 threads, token by token");
    }
    for (int64_t step : {1, 7, 64}) same(all_logits(model, one, ids, step), std::to_string(step) + " at a time");
  }
}

/// Where attention and MLP are added to the stream side by side, and the MLP's hidden rows are made in pieces, one worker's product
/// must wait for the others to have added the one before.
TEST(Forward, AParallelResidualInPiecesDependsOnNoThreads) {
  const Json config = test::parse(R"({"model_type": "gptj", "vocab_size": 90, "n_embd": 64, "n_head": 4, "n_layer": 4,
    "n_positions": 128, "rotary_dim": 4, "activation_function": "silu"})");
  const MemoryCheckpoint checkpoint(config, 19);
  const auto model = load(checkpoint, Compute::exact);
  ASSERT_NE(model, nullptr);
  Team one(1), two(2);
  for (const int64_t count : {3, 40, 100}) {
    const Ids ids = random_ids(count, model->config().vocab, 5);
    const auto reference = all_logits(model, one, ids);
    for (int again = 0; again < 10; ++again) {
      const auto got = all_logits(model, two, ids);
      ASSERT_EQ(std::memcmp(got.data(), reference.data(), got.size() * 4), 0) << count << " tokens, time " << again;
    }
  }
}

TEST(Forward, FastModeDoesNotDependOnThreads) {
  for (const auto& [name, config] : model_kinds()) {
    const MemoryCheckpoint checkpoint(config, 13);
    const auto model = load(checkpoint, Compute::fast);
    const Ids ids = random_ids(70, model->config().vocab, 5);
    Team one(1), two(2), three(3);
    const auto whole = all_logits(model, one, ids), whole3 = all_logits(model, three, ids);
    EXPECT_EQ(std::memcmp(whole.data(), whole3.data(), whole.size() * 4), 0) << name << " at once";
    const auto steps = all_logits(model, one, ids, 1), steps2 = all_logits(model, two, ids, 1);
    EXPECT_EQ(std::memcmp(steps.data(), steps2.data(), steps.size() * 4), 0) << name << " one by one";
  }
}

TEST(Forward, BatchEqualsOneByOne) {
  for (const auto& [name, config] : model_kinds()) {
    const MemoryCheckpoint checkpoint(config, 17);
    const auto model = load(checkpoint, Compute::exact);
    Team team(2);
    constexpr int kSessions = 8, kSteps = 6;
    std::vector<std::unique_ptr<Session>> alone, together;
    std::vector<Ids> prompts;
    for (int i = 0; i < kSessions; ++i) {
      prompts.push_back(random_ids(3 + 11 * i, model->config().vocab, static_cast<uint64_t>(i)));
      for (auto* list : {&alone, &together}) {
        list->push_back(*Session::create(model, team, 200));
        ASSERT_TRUE(list->back()->append(prompts.back(), Want::none).ok());
      }
    }
    auto batch = Batch::create(model, team, kSessions);
    ASSERT_TRUE(batch.ok());
    for (int step = 0; step < kSteps; ++step) {
      const Ids tokens = random_ids(kSessions, model->config().vocab, static_cast<uint64_t>(100 + step));
      std::vector<Session*> sessions;
      for (const auto& s : together) sessions.push_back(s.get());
      const auto logits = (*batch)->step(sessions, tokens);
      ASSERT_TRUE(logits.ok()) << logits.status().message();
      const std::size_t vocab = static_cast<std::size_t>(model->config().vocab);
      for (std::size_t i = 0; i < kSessions; ++i) {
        const auto own = alone[i]->append({&tokens[i], 1}, Want::last);
        ASSERT_TRUE(own.ok());
        EXPECT_EQ(std::memcmp(own->data(), logits->data() + i * vocab, vocab * 4), 0)
            << name << " session " << i << " step " << step;
        EXPECT_EQ(alone[i]->position(), together[i]->position());
      }
    }
  }
}

TEST(Forward, ABatchOfPiecesEqualsEachAlone) {
  for (const auto& [name, config] : model_kinds()) {
    const MemoryCheckpoint checkpoint(config, 23);
    const auto model = load(checkpoint, Compute::exact);
    const std::size_t vocab = static_cast<std::size_t>(model->config().vocab);
    Team team(2);
    // Steps of 16 rows: pieces are cut in the middle.
    auto batch = *Batch::create(model, team, 16);
    std::vector<std::unique_ptr<Session>> alone, together;
    std::vector<Ids> pieces;
    for (std::size_t i = 0; i < 4; ++i) {
      pieces.push_back(random_ids(std::vector<int>{7, 1, 30, 12}[i], model->config().vocab, 40 + i));
      for (auto* list : {&alone, &together}) {
        list->push_back(*Session::create(model, team, 60));
        ASSERT_TRUE(list->back()->append(random_ids(5 + static_cast<int>(i), model->config().vocab, 50 + i), Want::none).ok());
      }
    }
    std::vector<Batch::Piece> asked;
    for (std::size_t i = 0; i < 4; ++i) asked.push_back({together[i].get(), pieces[i]});
    const auto logits = batch->append(asked, true);
    ASSERT_TRUE(logits.ok()) << logits.status().message();
    ASSERT_EQ(logits->size(), 50 * vocab);
    std::size_t row = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const auto own = alone[i]->append(pieces[i], Want::all);
      ASSERT_TRUE(own.ok());
      EXPECT_EQ(std::memcmp(own->data(), logits->data() + row * vocab, own->size() * 4), 0) << name << " piece " << i;
      row += pieces[i].size();
      EXPECT_EQ(alone[i]->position(), together[i]->position());
      EXPECT_TRUE(std::ranges::equal(alone[i]->tokens(), together[i]->tokens()));
    }
    const auto silent = batch->append(std::span(asked).first(1), false);
    ASSERT_TRUE(silent.ok());
    EXPECT_TRUE(silent->empty());
    // What does not fit moves nobody.
    const int64_t before = together[3]->position();
    const Ids many = random_ids(60, model->config().vocab, 60);
    const std::vector<Batch::Piece> wrong = {{together[3].get(), pieces[3]}, {together[0].get(), many}};
    EXPECT_EQ(batch->append(wrong, true).status().code(), Code::limit);
    EXPECT_EQ(together[3]->position(), before);
  }
}

TEST(Forward, LastIsTheLastOfAllAndTruncateForgets) {
  const MemoryCheckpoint checkpoint(test::llama_config(), 19);
  const auto model = load(checkpoint, Compute::exact);
  Team team(2);
  const Ids ids = random_ids(30, 101, 1), other = random_ids(9, 101, 2);
  const auto all = all_logits(model, team, ids);
  auto session = *Session::create(model, team, 30);
  ASSERT_TRUE(session->append(std::span(ids).first(20), Want::none).ok());
  ASSERT_TRUE(session->append(other, Want::none).ok());
  ASSERT_TRUE(session->truncate(20).ok());
  EXPECT_EQ(session->position(), 20);
  const auto last = session->append(std::span(ids).subspan(20), Want::last);
  ASSERT_TRUE(last.ok());
  ASSERT_EQ(last->size(), 101u);
  EXPECT_EQ(std::memcmp(last->data(), all.data() + 29 * 101, 101 * 4), 0);
  EXPECT_FALSE(session->truncate(31).ok());
  EXPECT_FALSE(session->truncate(-1).ok());
}

TEST(Forward, SixteenBitCachesStayClose) {
  const MemoryCheckpoint checkpoint(test::llama_config(), 23);
  const auto model = load(checkpoint, Compute::exact);
  Team team(1);
  const Ids ids = random_ids(80, 101, 1);
  const auto reference = all_logits(model, team, ids);
  for (const auto& [type, tolerance] : {std::pair{KvType::f16, 0.05}, std::pair{KvType::bf16, 0.5}}) {
    SessionOptions options;
    options.max_tokens = 80;
    options.kv_type = type;
    auto session = *Session::create(model, team, options);
    const auto got = session->append(ids, Want::all);
    ASSERT_TRUE(got.ok());
    double worst = 0;
    for (std::size_t i = 0; i < reference.size(); ++i)
      worst = std::max<double>(worst, std::fabs((*got)[i] - reference[i]));
    EXPECT_LT(worst, tolerance);
    EXPECT_GT(worst, 0) << "the cache was not rounded";
  }
}

TEST(Forward, DecodingAllocatesNothing) {
  for (const auto& [name, config] : model_kinds()) {
    const MemoryCheckpoint checkpoint(config, 29);
    const auto model = load(checkpoint, Compute::fast);
    Team team(2);
    auto session = *Session::create(model, team, 64);
    auto second = *Session::create(model, team, 64);
    auto batch = *Batch::create(model, team, 2);
    Session* sessions[] = {session.get(), second.get()};
    const Ids ids = random_ids(20, 90, 4);
    ASSERT_TRUE(session->append(ids, Want::last).ok());
    ASSERT_TRUE(second->append(ids, Want::last).ok());
    ASSERT_TRUE(batch->step(sessions, std::span(ids).first(2)).ok());
    test::allocations = 0;
    test::counting = true;
    for (int i = 0; i < 10; ++i) {
      const text::TokenId token = 5;
      (void)session->append({&token, 1}, Want::last);
      (void)batch->step(sessions, std::span(ids).first(2));
    }
    (void)session->append(std::span(ids).first(10), Want::last);
    test::counting = false;
    EXPECT_EQ(test::allocations, 0) << name;
  }
}

TEST(Forward, RefusesWhatDoesNotFit) {
  const MemoryCheckpoint checkpoint(test::bigcode_config(true), 31);
  const auto model = load(checkpoint, Compute::exact);
  Team team(1);
  EXPECT_EQ(Session::create(model, team, 601).status().code(), Code::limit);
  EXPECT_EQ(Session::create(model, team, 0).status().code(), Code::invalid_argument);
  auto session = *Session::create(model, team, 10);
  const Ids ids = random_ids(11, 97, 1);
  const auto full = session->append(ids, Want::last);
  EXPECT_EQ(full.status().code(), Code::limit);
  EXPECT_EQ(session->position(), 0) << "nothing may have been appended";
  const Ids bad = {3, 97};
  const auto outside = session->append(bad, Want::last);
  EXPECT_EQ(outside.status().code(), Code::invalid_argument);
  EXPECT_NE(outside.status().message().find("97"), std::string::npos);
  const Ids negative = {-1};
  EXPECT_FALSE(session->append(negative, Want::last).ok());
  EXPECT_FALSE(session->append({}, Want::last).ok());
  ASSERT_TRUE(session->append(std::span(ids).first(10), Want::last).ok());
  EXPECT_EQ(session->append(std::span(ids).first(1), Want::last).status().code(), Code::limit);

  auto batch = *Batch::create(model, team, 2);
  Session* twice[] = {session.get(), session.get()};
  EXPECT_FALSE(batch->step(twice, std::span(ids).first(2)).ok());
  Session* one[] = {session.get()};
  EXPECT_EQ(batch->step(one, std::span(ids).first(1)).status().code(), Code::limit);
}

}  // namespace
}  // namespace nbl::model
