#include "eval/text_metrics.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/file.h"
#include "support/scratch.h"

namespace nbl::eval {
namespace {

/// The shipped cases, or those of the file that NIBBLE_TEXT_METRICS names (make_text_metrics.py makes fresh ones).
std::vector<Json> golden() {
  const char* named = std::getenv("NIBBLE_TEXT_METRICS");
  auto text = read_text_file(
      named != nullptr ? std::filesystem::path(named) : std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests/golden/eval/text_metrics.jsonl", 1 << 24);
  EXPECT_TRUE(text.ok());
  auto records = read_jsonl(*text, "text_metrics.jsonl");
  EXPECT_TRUE(records.ok()) << records.status().message();
  return *records;
}

std::string text_of(const Json& record, std::string_view key) { return std::string(record.find(key)->as_string()); }

TEST(TextMetrics, SentencesScoreAsTheReferencePackagesScoreThem) {
  int checked = 0;
  for (const Json& record : golden()) {
    if (record.find("reference") == nullptr) continue;
    const std::string reference = text_of(record, "reference"), prediction = text_of(record, "prediction"),
                      second = text_of(record, "second");
    SCOPED_TRACE("reference: " + reference + "\nprediction: " + prediction);
    const auto expected = [&](std::string_view key) { return record.find(key)->as_double(); };
    const Translation one{prediction, {reference}}, two{prediction, {reference, second}};
    EXPECT_NEAR(smoothed_bleu_4(reference, prediction), expected("smoothed_bleu_4"), 1e-9);
    EXPECT_NEAR(corpus_bleu({&two, 1}, tokenize_13a), expected("bleu_13a"), 1e-9);
    EXPECT_NEAR(sentence_bleu_intl(reference, prediction), expected("bleu_intl"), 1e-9);
    EXPECT_NEAR(corpus_bleu({&one, 1}, tokenize_zh), expected("bleu_zh"), 1e-9);
    EXPECT_NEAR(corpus_bleu({&one, 1}, tokenize_char), expected("bleu_char"), 1e-9);
    EXPECT_NEAR(corpus_chrf({&two, 1}, 0), expected("chrf"), 1e-9);
    EXPECT_NEAR(corpus_chrf({&one, 1}, 2), expected("chrf++"), 1e-9);
    const auto same = [](const Rouge& r, const Json& e) {
      EXPECT_NEAR(r.precision, e.elements()[0].as_double(), 1e-12);
      EXPECT_NEAR(r.recall, e.elements()[1].as_double(), 1e-12);
      EXPECT_NEAR(r.f, e.elements()[2].as_double(), 1e-12);
    };
    const auto rouge = record.find("rouge")->elements(), stemmed = record.find("rouge_stemmed")->elements();
    same(rouge_n(reference, prediction, 1, false), rouge[0]);
    same(rouge_n(reference, prediction, 2, false), rouge[1]);
    same(rouge_l(reference, prediction, false), rouge[2]);
    same(rouge_lsum(reference, prediction, false), rouge[3]);
    same(rouge_n(reference, prediction, 1, true), stemmed[0]);
    same(rouge_l(reference, prediction, true), stemmed[1]);
    same(rouge_lsum(reference, prediction, true), stemmed[2]);
    EXPECT_EQ(lowered(prediction), text_of(record, "lower"));
    ++checked;
  }
  EXPECT_GE(checked, 100);
}

TEST(TextMetrics, ACorpusAndStems) {
  int checked = 0;
  for (const Json& record : golden()) {
    if (const Json* corpus = record.find("corpus")) {
      std::vector<Translation> pairs;
      const auto references = corpus->find("references")->elements(),
                 predictions = corpus->find("predictions")->elements();
      for (std::size_t i = 0; i < references.size(); ++i) {
        pairs.push_back({std::string(predictions[i].as_string()), {std::string(references[i].as_string())}});
      }
      EXPECT_NEAR(corpus_bleu(pairs, tokenize_13a), corpus->find("bleu")->as_double(), 1e-9);
      EXPECT_NEAR(corpus_chrf(pairs, 0), corpus->find("chrf")->as_double(), 1e-9);
      EXPECT_NEAR(corpus_chrf(pairs, 2), corpus->find("chrf++")->as_double(), 1e-9);
      ++checked;
    }
    if (const Json* stems = record.find("stems")) {
      for (const auto& [word, stem] : stems->members()) EXPECT_EQ(porter_stem(word), stem.as_string()) << word;
      checked += stems->size() > 900;
    }
  }
  EXPECT_EQ(checked, 2);
}

// The evaluator's own sample: five predictions and their references, "number<tab>text" a line.
TEST(TextMetrics, CodeXglueSampleExactly) {
  NBL_NEED_SHARED("data/codexglue/evaluator");
  const auto read = [](const char* name) {
    std::vector<std::pair<std::string, std::string>> rows;
    const std::string text =
        read_text_file(nbl::testing::shared(std::string("data/codexglue/evaluator/") + name), 1 << 20).value();
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size()), tab = text.find('\t', at);
      rows.emplace_back(text.substr(at, std::min(tab, end) - at), tab < end ? text.substr(tab + 1, end - tab - 1) : "");
      at = end + 1;
    }
    return rows;
  };
  const auto predictions = read("predictions.txt"), references = read("reference.txt");
  ASSERT_EQ(predictions.size(), references.size());
  double total = 0;
  for (std::size_t i = 0; i < references.size(); ++i) {
    ASSERT_EQ(predictions[i].first, references[i].first);
    total += smoothed_bleu_4(references[i].second, predictions[i].second);
  }
  EXPECT_DOUBLE_EQ(total / static_cast<double>(references.size()), 9.554726113590661);
}

TEST(TextMetrics, FiltersAndExactMatch) {
  const auto strict = regex_filter("#### (\\-?[0-9\\.\\,]+)", 0),
             flexible = regex_filter("(-?[$0-9.,]{2,})|(-?[0-9]+)", -1);
  EXPECT_EQ(strict("so\n#### 1,234."), "1,234.");
  EXPECT_EQ(strict("no answer"), "[invalid]");
  EXPECT_EQ(flexible("There are 3 cats and $18.00 left"), "$18.00");
  EXPECT_EQ(flexible("7"), "7");
  EXPECT_EQ(flexible("none"), "[invalid]");
  const std::vector<PythonRegex> ignored = compile_all({",", "\\$", "(?s).*#### ", "\\.$"});
  EXPECT_TRUE(exact_match("$1,234.", "He has\n5\n#### 1234", ignored, true, false));
  EXPECT_FALSE(exact_match("123", "#### 1234", ignored, true, false));
  EXPECT_TRUE(exact_match("Yes!", "yes", {}, true, true));
}

TEST(PythonRegex, BehavesAsPythonsRe) {
  const PythonRegex empty = PythonRegex::known("x*");
  EXPECT_EQ(empty.replace("abxd", "-"), "-a-b--d-");
  EXPECT_EQ(empty.find_all("axb").size(), 4u);
  const PythonRegex groups = PythonRegex::known("(a)|(b)");
  const auto matches = groups.find_all("ba");
  ASSERT_EQ(matches.size(), 2u);
  EXPECT_EQ(matches[0].groups, (std::vector<std::string>{"", "b"}));
  EXPECT_TRUE(PythonRegex::known("^\\w+$").search("naïve\n"));
  EXPECT_FALSE(PythonRegex::compile("(").ok());
  EXPECT_EQ(PythonRegex::known("é").find_all("é\xff é").size(), 2u);
}

}  // namespace
}  // namespace nbl::eval
