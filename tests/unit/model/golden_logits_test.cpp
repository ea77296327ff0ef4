// Logits of real models against transformers' (tests/golden/logits).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "base/file.h"
#include "dialects/dialects.h"
#include "model/model.h"
#include "support/shared.h"
#include "support/test_isa.h"

namespace nbl::model {
namespace {

class GoldenLogits : public testing::TestWithParam<std::string> {};

TEST_P(GoldenLogits, EqualTransformers) {
  const std::filesystem::path golden = std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests/golden/logits";
  // A copy that ships with the project is preferred.
  std::filesystem::path directory = std::filesystem::path(NIBBLE_SOURCE_DIR) / "examples/models" / GetParam();
  if (!std::filesystem::exists(directory)) directory = test::shared_path("models") / GetParam();
  NBL_NEED_SHARED(directory);

  const auto text = read_text_file(golden / (GetParam() + ".json"), 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status().message();
  const auto record = Json::parse(*text, "golden");
  ASSERT_TRUE(record.ok()) << record.status().message();
  std::vector<text::TokenId> ids;
  for (const Json& id : record->find("ids")->elements()) ids.push_back(static_cast<text::TokenId>(id.as_int()));
  const std::size_t vocab = static_cast<std::size_t>(record->find("vocab")->as_int());
  const auto positions = record->find("positions")->elements();
  const auto argmax = record->find("argmax")->elements();
  const auto file = MappedFile::open(golden / (GetParam() + ".f32"));
  ASSERT_TRUE(file.ok());
  ASSERT_EQ((*file)->bytes().size(), positions.size() * vocab * 4);
  std::vector<float> want(positions.size() * vocab);
  std::memcpy(want.data(), (*file)->bytes().data(), want.size() * 4);

  const auto checkpoint = dialects::open(directory);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  ModelOptions options;
  options.compute = {Compute::exact, nbl::test::test_isa()};
  Team team(2);
  const auto model = Model::load(**checkpoint, options, team, {});
  ASSERT_TRUE(model.ok()) << model.status().message();
  auto session = Session::create(*model, team, static_cast<int64_t>(ids.size()));
  ASSERT_TRUE(session.ok()) << session.status().message();
  const auto logits = (*session)->append(ids, Session::Logits::all);
  ASSERT_TRUE(logits.ok()) << logits.status().message();
  ASSERT_EQ(logits->size(), ids.size() * vocab);

  double worst = 0;
  for (std::size_t p = 0; p < positions.size(); ++p) {
    const float* got = logits->data() + static_cast<std::size_t>(positions[p].as_int()) * vocab;
    for (std::size_t v = 0; v < vocab; ++v) worst = std::max<double>(worst, std::fabs(got[v] - want[p * vocab + v]));
  }
  EXPECT_LT(worst, 2e-3);
  RecordProperty("max_abs_difference", std::to_string(worst));
  for (std::size_t t = 0; t < ids.size(); ++t) {
    const float* row = logits->data() + t * vocab;
    EXPECT_EQ(std::max_element(row, row + vocab) - row, argmax[t].as_int()) << "position " << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenLogits, testing::Values("prose-3.7m", "prose-28m", "code-11m"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name)
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           return name;
                         });

}  // namespace
}  // namespace nbl::model
