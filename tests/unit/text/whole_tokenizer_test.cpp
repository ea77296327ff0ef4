// Whole tokenizer.json files whose parts meet in unusual ways, against the `tokenizers` package: tests/golden/tokenizers/make_wholes.py.
#include <gtest/gtest.h>

#include "base/json.h"
#include "text/tokenizer.h"
#include "unit/text/shared_data.h"

namespace nbl::text {
namespace {

std::vector<TokenId> ids_of(const Json& list) {
  std::vector<TokenId> ids;
  for (const Json& id : list.elements()) ids.push_back(static_cast<TokenId>(id.as_int()));
  return ids;
}

TEST(WholeTokenizer, IdsAndTextsAreThePackages) {
  const std::string path = "tests/golden/tokenizers/wholes.json";
  auto golden = Json::parse(testing::read_file(std::filesystem::path(NIBBLE_SOURCE_DIR) / path), path);
  ASSERT_TRUE(golden.ok()) << golden.status().message();
  ASSERT_GE(golden->size(), 10u);
  int compared = 0;
  for (const Json& one : golden->elements()) {
    const std::string file = one.find("tokenizer")->dump();
    SCOPED_TRACE(file.substr(0, 300));
    auto made = load_tokenizer_json(file, "", "wholes.json");
    ASSERT_TRUE(made.ok()) << made.status().message();
    EncodeOptions options;
    options.add_special = options.parse_special = true;
    for (const Json& pair : one.find("encoded")->elements()) {
      const std::string text(pair.elements()[0].as_string());
      auto ids = (*made)->encode(text, options);
      if (pair.elements()[1].is_null()) continue;  // the package gives up; anything in good order will do
      ASSERT_TRUE(ids.ok()) << text << ": " << ids.status().message();
      EXPECT_EQ(*ids, ids_of(pair.elements()[1])) << text;
      ++compared;
    }
    for (const Json& pair : one.find("decoded")->elements()) {
      auto text = (*made)->decode(ids_of(pair.elements()[0]), false);
      ASSERT_TRUE(text.ok()) << text.status().message();
      EXPECT_EQ(*text, pair.elements()[1].as_string()) << pair.elements()[0].dump();
      ++compared;
    }
  }
  EXPECT_GT(compared, 150);
}

}  // namespace
}  // namespace nbl::text
