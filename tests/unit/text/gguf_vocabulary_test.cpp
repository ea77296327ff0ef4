// GGUF vocabularies against the conformance cases that lie beside them in the shared data.
#include <gtest/gtest.h>

#include <sstream>

#include "text/tokenizer.h"
#include "unit/text/gguf_metadata.h"
#include "unit/text/shared_data.h"

namespace nbl::text {
namespace {

class GgufVocabulary : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufVocabulary, ConformanceCases) {
  const auto path = testing::shared_dir() / "data/tokenizers" / (std::string("ggml-vocab-") + GetParam() + ".gguf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const Json metadata = testing::gguf_metadata(path);
  ASSERT_TRUE(metadata.is_object());
  auto tokenizer = load_tokenizer_gguf(metadata, path.string());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();

  const std::string inputs = testing::read_file(path.string() + ".inp");
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::istringstream outputs(testing::read_file(path.string() + ".out"));
  int cases = 0;
  for (std::size_t at = 0; at <= inputs.size();) {
    std::size_t end = inputs.find(separator, at);
    if (end == std::string::npos) break;  // what follows the last separator is no case
    const std::string text = inputs.substr(at, end - at);
    at = end + separator.size();
    std::string line;
    ASSERT_TRUE(std::getline(outputs, line));
    std::istringstream numbers(line);
    std::vector<TokenId> expected;
    for (TokenId id; numbers >> id;) expected.push_back(id);
    auto ids = (*tokenizer)->encode(text, {});
    ASSERT_TRUE(ids.ok()) << ids.status().message();
    EXPECT_EQ(*ids, expected) << "case " << cases << ": " << text;
    ++cases;
  }
  EXPECT_EQ(cases, 46);
}

INSTANTIATE_TEST_SUITE_P(All, GgufVocabulary, ::testing::Values("gpt-2", "starcoder", "llama-spm", "phi-3"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) {
                             if (c == '-') c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace nbl::text
