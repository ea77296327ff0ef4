// Small random checkpoints of every architecture and awkward variant, against transformers
// (tests/golden/logits/make_tiny.py).
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/file.h"
#include "dialects/dialects.h"
#include "model/arch.h"
#include "model/model.h"
#include "support/golden_model.h"
#include "support/test_isa.h"

namespace nbl::model {
namespace {

std::filesystem::path tiny() { return std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests/golden/logits/tiny"; }

std::vector<std::string> variants() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(tiny()))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

class TinyLogits : public testing::TestWithParam<std::string> {};

TEST_P(TinyLogits, EqualTransformersAtOnceAndTokenByToken) {
  const auto text = read_text_file(tiny() / GetParam() / "golden.json", 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status().message();
  const Json golden = *Json::parse(*text, "golden.json");
  std::vector<text::TokenId> ids;
  for (const Json& id : golden.find("ids")->elements()) ids.push_back(static_cast<text::TokenId>(id.as_int()));

  const auto checkpoint = dialects::open(tiny() / GetParam());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  ModelOptions options;
  options.compute = {Compute::exact, nbl::test::test_isa()};
  Team team(1);
  const auto model = Model::load(**checkpoint, options, team, {});
  ASSERT_TRUE(model.ok()) << model.status().message();
  const std::size_t vocab = static_cast<std::size_t>((*model)->config().vocab);

  auto session = *Session::create(*model, team, static_cast<int64_t>(ids.size()));
  const auto whole = session->append(ids, Session::Logits::all);
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  double range = 0, worst = 0;
  const auto positions = golden.find("positions")->elements();
  for (std::size_t p = 0; p < positions.size(); ++p) {
    const auto row = golden.find("logits")->elements()[p].elements();
    ASSERT_EQ(row.size(), vocab);
    for (std::size_t v = 0; v < vocab; ++v) {
      range = std::max(range, std::fabs(row[v].as_double()));
      const float got = (*whole)[static_cast<std::size_t>(positions[p].as_int()) * vocab + v];
      worst = std::max(worst, std::fabs(row[v].as_double() - static_cast<double>(got)));
    }
  }
  EXPECT_LT(worst, 2e-5 * range);
  for (std::size_t t = 0; t < ids.size(); ++t) {
    const float* row = whole->data() + t * vocab;
    EXPECT_EQ(std::max_element(row, row + vocab) - row, golden.find("argmax")->elements()[t].as_int())
        << "position " << t;
  }
  auto second = *Session::create(*model, team, static_cast<int64_t>(ids.size()));
  for (std::size_t t = 0; t < ids.size(); ++t) {
    const auto one = second->append({&ids[t], 1}, Session::Logits::last);
    ASSERT_TRUE(one.ok());
    EXPECT_EQ(std::memcmp(one->data(), whole->data() + t * vocab, vocab * 4), 0) << "position " << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, TinyLogits, testing::ValuesIn(variants()), [](const auto& info) {
  std::string name = info.param;
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
});

/// Every architecture of the list has at least one variant here or in tests/golden/architectures.
TEST(TinyLogits, CoverEveryArchitecture) {
  std::vector<std::string> seen;
  for (const std::string& name : variants()) {
    const auto checkpoint = dialects::open(tiny() / name);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    const auto arch = find_architecture((*checkpoint)->config(), name);
    ASSERT_TRUE(arch.ok());
    seen.emplace_back((*arch)->id);
  }
  for (const std::string& name : test::golden_variants()) {
    const auto text = read_text_file(test::golden_architectures() / (name + ".json"), 1 << 20);
    const auto arch = find_architecture(*Json::parse(*text, name)->find("config"), name);
    ASSERT_TRUE(arch.ok()) << arch.status().message();
    seen.emplace_back((*arch)->id);
  }
  for (const Architecture* arch : architectures())
    EXPECT_NE(std::find(seen.begin(), seen.end(), arch->id), seen.end()) << arch->id << " has no tiny checkpoint";
}

}  // namespace
}  // namespace nbl::model
