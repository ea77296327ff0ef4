// Beam search against transformers' generate() (tests/golden/greedy/beams.json).
#include <gtest/gtest.h>

#include "base/file.h"
#include "dialects/dialects.h"
#include "model/beam_search.h"
#include "support/test_isa.h"

namespace nbl::model {
namespace {

using text::TokenId;

std::vector<TokenId> ids_of(const Json& list) {
  std::vector<TokenId> ids;
  for (const Json& id : list.elements()) ids.push_back(static_cast<TokenId>(id.as_int()));
  return ids;
}

TEST(BeamSearch, EqualsTransformers) {
  const std::filesystem::path root = NIBBLE_SOURCE_DIR;
  const auto text = read_text_file(root / "tests/golden/greedy/beams.json", 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status().message();
  const Json cases = *Json::parse(*text, "beams.json");
  ASSERT_GT(cases.size(), 20u);
  const auto checkpoint = dialects::open(root / "examples/models/prose-3.7m");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  ModelOptions load;
  load.compute = {Compute::exact, nbl::test::test_isa()};
  Team team(2);
  const auto model = Model::load(**checkpoint, load, team, {});
  ASSERT_TRUE(model.ok()) << model.status().message();
  for (const Json& c : cases.elements()) {
    SCOPED_TRACE(c.dump());
    BeamOptions options;
    options.beams = c.find("beams")->as_int();
    options.returned = c.find("returned")->as_int();
    options.max_new_tokens = c.find("max_new_tokens")->as_int();
    options.length_penalty = c.find("length_penalty")->as_double();
    options.early_stopping = c.find("early_stopping")->is_bool() && c.find("early_stopping")->as_bool();
    options.late_stopping = c.find("early_stopping")->is_string();
    options.ends = ids_of(*c.find("ends"));
    const std::vector<TokenId> ids = ids_of(*c.find("ids"));
    auto session = Session::create(*model, team, static_cast<int64_t>(ids.size()) + options.max_new_tokens);
    ASSERT_TRUE(session.ok()) << session.status().message();
    const auto logits = (*session)->append(ids, Session::Logits::last);
    ASSERT_TRUE(logits.ok()) << logits.status().message();
    const auto found = beam_search(**session, *logits, options, {});
    ASSERT_TRUE(found.ok()) << found.status().message();
    const auto want = c.find("found")->elements();
    ASSERT_EQ(found->size(), want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_EQ((*found)[i].tokens, ids_of(*want[i].find("tokens"))) << i;
      EXPECT_NEAR((*found)[i].score, want[i].find("score")->as_double(), 1e-3) << i;
    }
  }
}

}  // namespace
}  // namespace nbl::model
