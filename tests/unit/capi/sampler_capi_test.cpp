// Samplers of the C interface: what sessions choose, over logits that are the caller's.
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "unit/capi/fixtures.h"

namespace nbl::test {
namespace {

using Settings = std::map<std::string, std::string>;

Tokenizer tokenizer_of(const Model& model) {
  nbl_tokenizer* raw = nullptr;
  EXPECT_NBL_OK(nbl_tokenizer_from_model(model.get(), &raw));
  return Tokenizer(raw);
}

std::vector<int32_t> encode(const Tokenizer& tokenizer, const std::string& text) {
  nbl_buffer* ids = nullptr;
  EXPECT_NBL_OK(nbl_tokenizer_encode(tokenizer.get(), text.data(), text.size(), 0, &ids));
  const Buffer owned(ids);
  return {nbl_buffer_ids(ids), nbl_buffer_ids(ids) + nbl_buffer_size(ids) / 4};
}

Sampler make_sampler(int64_t vocab, nbl_tokenizer* tokenizer = nullptr, const Settings& settings = {}) {
  nbl_sampler* raw = nullptr;
  EXPECT_NBL_OK(nbl_sampler_create(vocab, tokenizer, &raw));
  for (const auto& [name, value] : settings) EXPECT_NBL_OK(nbl_sampler_set(raw, name.c_str(), value.c_str()));
  return Sampler(raw);
}

/// What the session itself generates.
std::vector<int32_t> by_session(const Model& model, const std::vector<int32_t>& prompt, const Settings& settings) {
  const Session session = make_session(model, 256);
  for (const auto& [name, value] : settings) EXPECT_NBL_OK(nbl_session_set(session.get(), name.c_str(), value.c_str()));
  nbl_buffer* out = nullptr;
  EXPECT_NBL_OK(nbl_session_generate(session.get(), prompt.data(), static_cast<int64_t>(prompt.size()), nullptr, &out));
  const Buffer owned(out);
  const auto json = Json::parse(nbl_buffer_text(out), "result");
  std::vector<int32_t> ids;
  for (const Json& id : json->find("token_ids")->elements()) ids.push_back(static_cast<int32_t>(id.as_int()));
  return ids;
}

/// The same by a loop over logits.
std::vector<int32_t> by_sampler(const Model& model, const std::vector<int32_t>& prompt, const Settings& settings, int64_t most) {
  const Session session = make_session(model, 256);
  const Tokenizer tokenizer = tokenizer_of(model);
  const Sampler sampler = make_sampler(nbl_model_vocab_size(model.get()), tokenizer.get(), settings);
  EXPECT_NBL_OK(nbl_sampler_reset(sampler.get(), prompt.data(), static_cast<int64_t>(prompt.size())));
  const float* logits = nullptr;
  int64_t rows = 0;
  EXPECT_NBL_OK(nbl_session_append(session.get(), prompt.data(), static_cast<int64_t>(prompt.size()), NBL_LOGITS_LAST, &logits, &rows));
  std::vector<int32_t> ids;
  while (static_cast<int64_t>(ids.size()) < most) {
    int32_t looked = 0, id = 0;
    EXPECT_NBL_OK(nbl_sampler_choose(sampler.get(), logits, &looked));
    EXPECT_NBL_OK(nbl_sampler_sample(sampler.get(), logits, &id));
    EXPECT_EQ(looked, id);
    if (id < 0 || nbl_sampler_ended(sampler.get()) != 0) break;
    ids.push_back(id);
    EXPECT_NBL_OK(nbl_session_append(session.get(), &id, 1, NBL_LOGITS_LAST, &logits, &rows));
  }
  return ids;
}

TEST(Sampler, ChoosesWhatASessionChooses) {
  const Runtime runtime = make_runtime();
  const Model model = open_model(runtime);
  const std::vector<int32_t> prompt = encode(tokenizer_of(model), "It was a bright cold day, and it was");
  const std::vector<Settings> all = {
      {},
      {{"temperature", "0.9"}, {"seed", "7"}},
      {{"temperature", "1.2"}, {"top_k", "40"}, {"top_p", "0.9"}, {"min_p", "0.02"}, {"typical", "0.95"}, {"seed", "3"}},
      {{"repetition_penalty", "1.3"}, {"repetition_window", "8"}, {"frequency_penalty", "0.4"}, {"presence_penalty", "0.2"}},
      {{"temperature", "0.7"}, {"dry_multiplier", "0.8"}, {"dry_allowed_length", "1"}, {"seed", "11"}},
      {{"logit_bias", "5:-3,7:2.5"}, {"banned_tokens", "0,1,2"}, {"temperature", "1"}},
      {{"temperature", "1"}, {"seed", "4"}, {"grammar", "root ::= [a-z]{3,20} (\" \" [0-9]+)* \".\""}},
      {{"temperature", "1.5"}, {"top_k", "20"}, {"json_schema", R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"enum":["x","yy"]}},"required":["a","b"]})"}},
  };
  for (Settings settings : all) {
    settings["max_new_tokens"] = "48";
    const auto expected = by_session(model, prompt, settings);
    EXPECT_GE(expected.size(), 3u);
    EXPECT_EQ(by_sampler(model, prompt, settings, 48), expected) << settings.begin()->first;
  }
}

TEST(Sampler, ClonesGoOnAloneFromWhereTheyWereMade) {
  const Runtime runtime = make_runtime();
  const Model model = open_model(runtime);
  const Tokenizer tokenizer = tokenizer_of(model);
  const int64_t vocab = nbl_model_vocab_size(model.get());
  std::vector<float> logits(static_cast<std::size_t>(vocab));
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = std::sin(static_cast<float>(i) * 1.7f) * 3;
  const Sampler a = make_sampler(vocab, tokenizer.get(), {{"temperature", "1"}, {"seed", "5"}, {"grammar", "root ::= [a-z ]{30} \"!\""}});
  int32_t id = 0;
  for (int i = 0; i < 4; ++i) ASSERT_NBL_OK(nbl_sampler_sample(a.get(), logits.data(), &id));
  nbl_sampler* raw = nullptr;
  ASSERT_NBL_OK(nbl_sampler_clone(a.get(), &raw));
  const Sampler b(raw);
  const auto rest = [&](const Sampler& s) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 64; ++i) {
      int32_t next = 0;
      EXPECT_NBL_OK(nbl_sampler_sample(s.get(), logits.data(), &next));
      ids.push_back(next);
      if (next < 0) break;
    }
    return ids;
  };
  const auto first = rest(a);
  EXPECT_EQ(first.back(), -1);  // the grammar's text is complete, and stays so
  EXPECT_EQ(rest(a), std::vector<int32_t>{-1});
  EXPECT_EQ(rest(b), first);
  // A reset begins the grammar and the random numbers anew; another seed says something else.
  const Sampler c = make_sampler(vocab, tokenizer.get(), {{"temperature", "1"}, {"seed", "5"}, {"grammar", "root ::= [a-z ]{30} \"!\""}});
  const auto whole = rest(c);
  ASSERT_NBL_OK(nbl_sampler_reset(b.get(), nullptr, 0));
  EXPECT_EQ(rest(b), whole);
  ASSERT_NBL_OK(nbl_sampler_reset(b.get(), nullptr, 0));
  ASSERT_NBL_OK(nbl_sampler_set(b.get(), "seed", "6"));
  EXPECT_NE(rest(b), whole);
}

TEST(Sampler, WorksWithoutAModel) {
  const Sampler s = make_sampler(6, nullptr, {{"end_tokens", "5"}});
  std::vector<float> logits = {0, 1, 2, 3, 4, 2.5f};
  int32_t id = -7;
  ASSERT_NBL_OK(nbl_sampler_sample(s.get(), logits.data(), &id));
  EXPECT_EQ(id, 4);
  EXPECT_EQ(nbl_sampler_ended(s.get()), 0);
  ASSERT_NBL_OK(nbl_sampler_set(s.get(), "banned_tokens", "4,3"));
  ASSERT_NBL_OK(nbl_sampler_sample(s.get(), logits.data(), &id));
  EXPECT_EQ(id, 5);
  EXPECT_EQ(nbl_sampler_ended(s.get()), 1);
  ASSERT_NBL_OK(nbl_sampler_set(s.get(), "banned_tokens", ""));
  // Penalties know what was accepted, whoever chose it, and what came before.
  ASSERT_NBL_OK(nbl_sampler_set(s.get(), "repetition_penalty", "4"));
  const int32_t prompt[] = {3};
  ASSERT_NBL_OK(nbl_sampler_reset(s.get(), prompt, 1));
  ASSERT_NBL_OK(nbl_sampler_accept(s.get(), 4));
  ASSERT_NBL_OK(nbl_sampler_choose(s.get(), logits.data(), &id));
  EXPECT_EQ(id, 5);
  // The share of each token is its probability: 4,000 draws, 5 degrees of freedom, chi-square below its 99.99 % point.
  const Sampler t = make_sampler(6, nullptr, {{"temperature", "1"}, {"seed", "1"}});
  std::vector<int> count(6, 0);
  for (int i = 0; i < 4000; ++i) {
    ASSERT_NBL_OK(nbl_sampler_sample(t.get(), logits.data(), &id));
    ++count[static_cast<std::size_t>(id)];
  }
  double sum = 0, chi = 0;
  for (const float l : logits) sum += std::exp(static_cast<double>(l));
  for (std::size_t i = 0; i < 6; ++i) {
    const double expected = 4000 * std::exp(static_cast<double>(logits[i])) / sum;
    chi += (count[i] - expected) * (count[i] - expected) / expected;
  }
  EXPECT_LT(chi, 25.7);
}

TEST(Sampler, RefusesWhatItCannotDo) {
  nbl_sampler* raw = reinterpret_cast<nbl_sampler*>(1);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "vocab_size", nbl_sampler_create(0, nullptr, &raw));
  EXPECT_EQ(raw, nullptr);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "out_sampler", nbl_sampler_create(4, nullptr, nullptr));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "sampler", nbl_sampler_clone(nullptr, &raw));
  EXPECT_EQ(nbl_sampler_ended(nullptr), 0);
  nbl_sampler_destroy(nullptr);
  const Sampler s = make_sampler(4);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "top_p", nbl_sampler_set(s.get(), "top_p", "1.5"));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "topp", nbl_sampler_set(s.get(), "topp", "1"));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "sessions", nbl_sampler_set(s.get(), "beams", "4"));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "outside", nbl_sampler_set(s.get(), "banned_tokens", "4"));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "end_tokens", nbl_sampler_set(s.get(), "end_tokens", "4"));
  EXPECT_REFUSED(NBL_E_UNSUPPORTED, "tokenizer", nbl_sampler_set(s.get(), "grammar", "root ::= \"a\""));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "outside", nbl_sampler_accept(s.get(), 4));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "count", nbl_sampler_reset(s.get(), nullptr, -1));
  int32_t id = 9;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "logits", nbl_sampler_sample(s.get(), nullptr, &id));
  EXPECT_EQ(id, 0);
  const std::vector<float> bad(4, std::numeric_limits<float>::quiet_NaN());
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "finite", nbl_sampler_choose(s.get(), bad.data(), &id));
  // What was refused has changed nothing.
  const std::vector<float> logits = {0, 3, 1, 2};
  ASSERT_NBL_OK(nbl_sampler_sample(s.get(), logits.data(), &id));
  EXPECT_EQ(id, 1);
}

TEST(Sampler, ListsItsSettings) {
  const auto list = Json::parse(nbl_sampler_settings_json(), "settings");
  ASSERT_TRUE(list.ok());
  const Sampler s = make_sampler(8);
  for (const Json& each : list->elements()) {
    const std::string name = each.get_string("name").value(), fallback = each.get_string("default").value();
    EXPECT_NBL_OK(nbl_sampler_set(s.get(), name.c_str(), fallback.c_str()));
  }
  EXPECT_GT(list->size(), 15u);
}

TEST(Export, WritesWhatConvertWrites) {
  const Scratch scratch;
  const Runtime runtime = make_runtime();
  const Checkpoint original = open_checkpoint(runtime);
  nbl_export* raw = nullptr;
  ASSERT_NBL_OK(nbl_export_create(runtime.get(), "gguf", &raw));
  const Export job(raw);
  ASSERT_NBL_OK(nbl_export_set(raw, "verify", "true"));
  const std::filesystem::path one = scratch.file("one"), two = scratch.file("two");  // a GGUF says what its file is called
  std::filesystem::create_directory(one);
  std::filesystem::create_directory(two);
  int calls = 0;
  ASSERT_NBL_OK(nbl_export_set_progress(raw, [](void* user, const nbl_progress*) { return ++*static_cast<int*>(user), 0; }, &calls));
  int32_t ok = 0;
  nbl_buffer* report = nullptr;
  ASSERT_NBL_OK(nbl_export_run(raw, original.get(), (one / "m.gguf").c_str(), &ok, &report));
  const Buffer owned(report);
  EXPECT_EQ(ok, 1);
  EXPECT_GT(calls, 10);
  const auto json = Json::parse(nbl_buffer_text(report), "report");
  EXPECT_TRUE(json->find("lossless")->as_bool());
  EXPECT_GT(json->get_int("tensors_checked").value(), 10);
  ASSERT_NBL_OK(nbl_checkpoint_convert(original.get(), (two / "m.gguf").c_str(), "gguf", 0, nullptr, nullptr, &ok, nullptr));
  EXPECT_TRUE(read_file(one / "m.gguf") == read_file(two / "m.gguf"));

  // Figures for the model card.
  nbl_export* second = nullptr;
  ASSERT_NBL_OK(nbl_export_create(runtime.get(), "huggingface", &second));
  const Export dense(second);
  ASSERT_NBL_OK(nbl_export_set(second, "measured", R"({"protocol": "windows-512", "perplexity": 12.5, "tokens": 100, "text": "mine"})"));
  ASSERT_NBL_OK(nbl_export_run(second, original.get(), scratch.file("hf").c_str(), &ok, nullptr));
  EXPECT_EQ(ok, 1);
  EXPECT_NE(read_file(scratch.file("hf") + "/README.md").find("12.5"), std::string::npos);

  // What a format cannot hold is an answer, not an error, and leaves nothing.
  nbl_export* third = nullptr;
  ASSERT_NBL_OK(nbl_export_create(runtime.get(), "gptq", &third));
  const Export packed(third);
  ASSERT_NBL_OK(nbl_export_run(third, original.get(), scratch.file("gptq").c_str(), &ok, &report));
  const Buffer refusal(report);
  EXPECT_EQ(ok, 0);
  EXPECT_GT(Json::parse(nbl_buffer_text(report), "report")->find("refused")->size(), 0u);
  EXPECT_FALSE(std::filesystem::exists(scratch.file("gptq")));
}

TEST(Export, RefusesWhatItCannotDo) {
  const Scratch scratch;
  const Runtime runtime = make_runtime(1);
  nbl_export* raw = reinterpret_cast<nbl_export*>(1);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "gguf", nbl_export_create(runtime.get(), "exl2", &raw));
  EXPECT_EQ(raw, nullptr);
  ASSERT_NBL_OK(nbl_export_create(runtime.get(), nullptr, &raw));
  const Export job(raw);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "verify", nbl_export_set(raw, "verify", "maybe"));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "nothing", nbl_export_set(raw, "nothing", ""));
  EXPECT_EQ(nbl_export_set(raw, "measured", "{"), NBL_E_CORRUPT);
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "array", nbl_export_set(raw, "measured", "3"));
  EXPECT_NBL_OK(nbl_export_set(raw, "verify", ""));
  int32_t ok = 5;
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "input", nbl_export_run(raw, nullptr, "x", &ok, nullptr));
  EXPECT_EQ(ok, 0);
  const Checkpoint original = open_checkpoint(runtime);
  ASSERT_NBL_OK(nbl_export_set_progress(raw, [](void*, const nbl_progress*) { return 1; }, nullptr));
  EXPECT_EQ(nbl_export_run(raw, original.get(), scratch.file("m").c_str(), &ok, nullptr), NBL_E_CANCELLED);
  EXPECT_EQ(scratch.entries(), 0u);
  nbl_export_destroy(nullptr);
}

}  // namespace
}  // namespace nbl::test
