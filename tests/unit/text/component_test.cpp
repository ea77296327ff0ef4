// Single parts of a tokenizer.json against the `tokenizers` package: tests/golden/tokenizers/make_components.py.
#include <gtest/gtest.h>

#include <functional>

#include "base/hash.h"
#include "base/json.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "unit/text/random_text.h"
#include "unit/text/shared_data.h"

namespace nbl::text {
namespace {

using Step = std::function<std::vector<std::string>(const std::string&)>;

const Json& golden() {
  static const Json json = [] {
    const std::string text =
        testing::read_file(std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests/golden/tokenizers/components.json");
    auto parsed = Json::parse(text, "components.json");
    return parsed.ok() ? std::move(parsed).value() : Json();
  }();
  return json;
}

const std::vector<std::string>& texts() {
  static const std::vector<std::string> all = [] {
    testing::SplitMix rng(static_cast<uint64_t>(golden().find("seed")->as_int()));
    std::vector<std::string> made;
    for (int64_t i = 0; i < golden().find("texts")->as_int(); ++i) made.push_back(testing::random_text(rng));
    return made;
  }();
  return all;
}

void check(const char* group, const std::function<Step(const Json&)>& maker) {
  const auto parts = golden().find(group)->elements();
  ASSERT_GT(parts.size(), 20u);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    SCOPED_TRACE(parts[i].find("part")->dump().substr(0, 200));
    const Step run = maker(*parts[i].find("part"));
    ASSERT_TRUE(run) << "the part could not be made";
    std::string all;
    const auto hashes = parts[i].find("hashes")->elements();
    std::size_t block = 0;
    for (std::size_t n = 0; n < texts().size(); ++n) {
      bool first = true;
      for (const std::string& piece : run(texts()[n])) {
        if (piece.empty()) continue;
        if (!first) all += '\x1f';
        first = false;
        all += piece;
      }
      all += '\x1e';
      if (n % 500 != 499) continue;
      const std::string hash = sha256_hex(std::as_bytes(std::span(all.data(), all.size()))).substr(0, 8);
      EXPECT_EQ(hash, hashes[block].as_string())
          << "first in texts " << n - 499 << ".." << n << ": see make_components.py --show " << group << " " << i;
      if (hash != hashes[block].as_string()) break;
      ++block;
    }
  }
}

TEST(Components, PreTokenizers) {
  check("pre_tokenizers", [](const Json& part) -> Step {
    auto made = parse_pre_tokenizer(part, false);
    EXPECT_TRUE(made.ok()) << made.status().message();
    if (!made.ok()) return nullptr;
    std::shared_ptr<PreTokenizer> pre = std::move(made).value();
    return [pre](const std::string& text) {
      std::vector<std::string> pieces;
      Status status;
      pre->split(
          {text, true, false},
          [&](const Piece& piece) {
            pieces.emplace_back(piece.text);
            return true;
          },
          status);
      EXPECT_TRUE(status.ok()) << status.message();
      return pieces;
    };
  });
}

TEST(Components, Normalizers) {
  check("normalizers", [](const Json& part) -> Step {
    auto made = parse_normalizer(part);
    EXPECT_TRUE(made.ok()) << made.status().message();
    if (!made.ok()) return nullptr;
    std::shared_ptr<Normalizer> normalizer = std::move(made).value();
    return [normalizer](const std::string& text) {
      std::string out = text;
      const Status status = normalizer->apply(out);
      EXPECT_TRUE(status.ok()) << status.message();
      return std::vector<std::string>{out};
    };
  });
}

// The Hangul trailing base is no trailing consonant: it stands alone under composition.
TEST(Components, ComposedHangulKeepsTheTrailingBase) {
  for (const char* form : {"NFC", "NFKC"}) {
    const auto normalizer = parse_normalizer(Json::object({{"type", form}}));
    ASSERT_TRUE(normalizer.ok());
    std::string text = "\xE1\x84\x86\xE1\x85\xB5\xE1\x86\xA7|\xE1\x84\x86\xE1\x85\xB5\xE1\x86\xA8";
    ASSERT_TRUE((*normalizer)->apply(text).ok());
    EXPECT_EQ(text, "\xEB\xAF\xB8\xE1\x86\xA7|\xEB\xAF\xB9") << form;
  }
}

}  // namespace
}  // namespace nbl::text
