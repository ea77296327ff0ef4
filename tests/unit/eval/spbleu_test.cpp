// spBLEU against sacreBLEU's tokenizers flores101 and flores200, with small sentencepiece models in place of the published ones.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "base/file.h"
#include "eval/evaluate.h"
#include "eval/text_metrics.h"
#include "support/scratch.h"

namespace nbl::eval {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests/golden";

std::shared_ptr<const text::SentencepiecePieces> small_model(const std::string& name) {
  const std::filesystem::path path = kGolden / "tokenizers/small" / name;
  const auto bytes = read_text_file(path, 1 << 24);
  if (!bytes.ok()) return nullptr;
  auto pieces = text::SentencepiecePieces::load(*bytes, path.string());
  EXPECT_TRUE(pieces.ok()) << pieces.status().message();
  return pieces.ok() ? std::make_shared<const text::SentencepiecePieces>(std::move(*pieces)) : nullptr;
}

bool write(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
  return std::filesystem::is_regular_file(path);
}

/// kPieceBleu of these pairs, as a task's judge computes it.
double spbleu(const std::shared_ptr<const text::SentencepiecePieces>& pieces, std::span<const Json> references,
              std::span<const Json> predictions) {
  const std::vector<LoadedPieces> loaded = {{"spbleu", pieces}};
  std::vector<std::pair<std::string, MetricValue>> named;
  MetricSink sink(named, loaded);
  for (std::size_t i = 0; i < references.size(); ++i) {
    const Status status = sink.add_pieces(references[i].as_string(), predictions[i].as_string());
    EXPECT_TRUE(status.ok()) << status.message();
  }
  std::vector<MetricValue> values;
  for (auto& [name, value] : named) values.push_back(std::move(value));
  return kPieceBleu.combine(values);
}

/// The shipped cases, or those of the file that NIBBLE_SPBLEU names (make_spbleu.py makes fresh ones).
TEST(SpBleu, PiecesAndScoresAreSacreBleus) {
  const char* named = std::getenv("NIBBLE_SPBLEU");
  const auto text = read_text_file(named != nullptr ? std::filesystem::path(named) : kGolden / "eval/spbleu.jsonl", 1 << 26);
  ASSERT_TRUE(text.ok()) << text.status().message();
  const auto records = read_jsonl(*text, "spbleu.jsonl");
  ASSERT_TRUE(records.ok()) << records.status().message();
  std::map<std::string, std::shared_ptr<const text::SentencepiecePieces>> models;
  int sentences = 0, corpora = 0;
  for (const Json& record : *records) {
    const std::string name(record.find("model")->as_string());
    auto& pieces = models[name];
    if (pieces == nullptr) pieces = small_model(name);
    ASSERT_NE(pieces, nullptr) << name;
    const double expected = record.find("spbleu")->as_double();
    if (const Json* references = record.find("references")) {
      EXPECT_NEAR(spbleu(pieces, references->elements(), record.find("predictions")->elements()), expected, 1e-9) << name;
      ++corpora;
      continue;
    }
    const Json &reference = *record.find("reference"), &prediction = *record.find("prediction");
    SCOPED_TRACE(fmt::format("{}: {}", name, reference.as_string()));
    const auto cut = pieces->cut(reference.as_string());
    ASSERT_TRUE(cut.ok()) << cut.status().message();
    std::vector<std::string> wanted;
    for (const Json& piece : record.find("pieces")->elements()) wanted.emplace_back(piece.as_string());
    EXPECT_EQ(*cut, wanted);
    EXPECT_NEAR(spbleu(pieces, {&reference, 1}, {&prediction, 1}), expected, 1e-9);
    ++sentences;
  }
  EXPECT_GE(sentences, 80);
  EXPECT_EQ(corpora, 4);
}

TEST(SpBleu, ATaskComputesItWhereTheModelLiesBesideItsData) {
  const testing::Scratch data;
  std::filesystem::create_directories(data.path() / "flores");
  ASSERT_TRUE(write(data.path() / "flores/eng_Latn.devtest", "One.\nTwo.\n"));
  ASSERT_TRUE(write(data.path() / "flores/deu_Latn.devtest", "Eins.\nZwei.\n"));
  const Task& task = *find_task("flores_en-de");
  const auto without = load_documents(task, data.path(), false);
  ASSERT_TRUE(without.ok()) << without.status().message();
  EXPECT_TRUE(without->pieces.empty());

  const std::filesystem::path model = data.path() / "flores/flores200_sacrebleu_tokenizer_spm.model";
  std::filesystem::copy_file(kGolden / "tokenizers/small/sp-unigram.model", model);
  const auto with = load_documents(task, data.path(), false);
  ASSERT_TRUE(with.ok()) << with.status().message();
  ASSERT_EQ(with->pieces.size(), 1U);
  EXPECT_EQ(with->pieces[0].metric, "spbleu");
  EXPECT_NE(with->sha256, without->sha256);

  std::filesystem::remove(model);
  ASSERT_TRUE(write(model, "no model"));
  const auto damaged = load_documents(task, data.path(), false);
  ASSERT_FALSE(damaged.ok());
  EXPECT_NE(damaged.status().message().find(model.string()), std::string::npos) << damaged.status().message();
}

}  // namespace
}  // namespace nbl::eval
