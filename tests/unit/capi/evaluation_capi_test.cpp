// Evaluations through the C interface: what they report is compared with what their own requests give, one by one.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <vector>

#include "unit/capi/fixtures.h"

namespace nbl::test {
namespace {

const Json& at(const Json& json, std::initializer_list<std::string_view> path) {
  static const Json none;
  const Json* node = &json;
  for (const std::string_view key : path) {
    node = node == nullptr ? nullptr : node->find(key);
    EXPECT_NE(node, nullptr) << key << " of " << json.dump().substr(0, 400);
  }
  return node == nullptr ? none : *node;
}

class Evaluations : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream file(scratch_.file("test.jsonl"));
    for (int i = 0; i < 5; ++i) {
      file << R"({"question":"The cat number )" << i << R"( sat on the","options":["mat","river","stone of the house","sky"],"gold":)" << i % 4
           << R"(,"golds":[0,)" << 1 + i % 3 << R"(],"passage":"There was a river. It was long, and )" << i << R"( boys swam in it."})" << "\n";
    }
  }
  nbl_evaluation* evaluation() {
    nbl_evaluation* raw = nullptr;
    EXPECT_NBL_OK(nbl_evaluation_create(runtime_.get(), &raw));
    kept_.emplace_back(raw);
    EXPECT_NBL_OK(nbl_evaluation_add_model(raw, model_.get(), "prose"));
    set(raw, "data", std::filesystem::path(scratch_.file("x")).parent_path().c_str());
    set(raw, "samples", "true");
    set(raw, "bootstrap", "20");
    return raw;
  }
  static void set(nbl_evaluation* e, const char* name, const char* value) { EXPECT_NBL_OK(nbl_evaluation_set(e, name, value)); }
  /// A task over test.jsonl.
  static void define(nbl_evaluation* e, const std::string& name, const std::string& rest) {
    const std::string text = R"({"dataset_path":"json","dataset_kwargs":{"data_files":{"test":"test.jsonl","train":"test.jsonl"}},"test_split":"test","task":")" +
                             name + R"(",)" + rest + "}";
    EXPECT_NBL_OK(nbl_evaluation_add_task_definition(e, text.data(), text.size(), nullptr));
  }
  static Json tasks(nbl_evaluation* e) {
    nbl_buffer* out = nullptr;
    EXPECT_NBL_OK(nbl_evaluation_tasks(e, &out));
    return out == nullptr ? Json() : json_of(out);
  }
  /// The log-likelihood of one continuation on its own.
  double score(const std::string& context, const std::string& continuation) {
    nbl_evaluation* e = evaluation();
    const std::string line = Json::object({{"context", context}, {"continuation", continuation}}).dump();
    nbl_buffer* out = nullptr;
    EXPECT_NBL_OK(nbl_evaluation_score(e, line.data(), line.size(), &out));
    return at(json_of(out).find("results")->elements()[0], {"logprob"}).as_double();
  }

  const Scratch scratch_;
  const Runtime runtime_ = make_runtime();
  const Model model_ = open_model(runtime_, NBL_COMPUTE_EXACT);
  std::vector<Evaluation> kept_;
};

constexpr const char* kChoose =
    R"("output_type":"multiple_choice","doc_to_text":"{{question}}","doc_to_choice":"options","doc_to_target":"gold","training_split":"train","num_fewshot":1)";
constexpr const char* kWrite =
    R"("output_type":"generate_until","doc_to_text":"{{question}}","doc_to_target":"{{options[gold]}}","generation_kwargs":{"until":["\n","."],"max_gen_toks":6})";

TEST_F(Evaluations, ChoicesAreJudgedByTheLikelihoodOfEach) {
  nbl_evaluation* e = evaluation();
  define(e, "choose", kChoose);
  const Json result = tasks(e);
  const Json& samples = at(result, {"samples", "choose"});
  ASSERT_EQ(samples.size(), 5u);
  double right = 0, right_by_length = 0;
  for (const Json& sample : samples.elements()) {
    std::size_t best = 0, best_by_length = 0;
    std::vector<double> found, by_length;
    for (std::size_t c = 0; c < 4; ++c) {
      const Json& arguments = at(sample, {"arguments", "gen_args_" + std::to_string(c)});
      const std::string context(at(arguments, {"arg_0"}).as_string()), choice(at(arguments, {"arg_1"}).as_string());
      found.push_back(std::stod(std::string(at(sample, {"filtered_resps"}).elements()[c].elements()[0].as_string())));
      if (sample.find("doc_id")->as_int() == 0) {
        EXPECT_EQ(found.back(), score(context, choice)) << context << choice;
      }
      by_length.push_back(found.back() / static_cast<double>(choice.size() - 1));
      if (found[c] > found[best]) best = c;
      if (by_length[c] > by_length[best_by_length]) best_by_length = c;
    }
    const auto gold = static_cast<std::size_t>(at(sample, {"doc", "gold"}).as_int());
    EXPECT_EQ(at(sample, {"acc"}).as_double(), best == gold ? 1 : 0);
    right += best == gold ? 1 : 0;
    right_by_length += best_by_length == gold ? 1 : 0;
  }
  EXPECT_DOUBLE_EQ(at(result, {"results", "choose", "acc,none"}).as_double(), right / 5);
  EXPECT_DOUBLE_EQ(at(result, {"results", "choose", "acc_norm,none"}).as_double(), right_by_length / 5);
  EXPECT_EQ(at(result, {"n-shot", "choose"}).as_int(), 1);
}

TEST_F(Evaluations, AnswersAreWhatASessionWrites) {
  nbl_evaluation* e = evaluation();
  define(e, "write", kWrite);
  const Json result = tasks(e);
  nbl_tokenizer* raw = nullptr;
  ASSERT_NBL_OK(nbl_tokenizer_from_model(model_.get(), &raw));
  const Tokenizer tokenizer(raw);
  for (const Json& sample : at(result, {"samples", "write"}).elements()) {
    const std::string context(at(sample, {"arguments", "gen_args_0", "arg_0"}).as_string());
    nbl_buffer *ids = nullptr, *generated = nullptr;
    ASSERT_NBL_OK(nbl_tokenizer_encode(raw, context.data(), context.size(), 0, &ids));
    const Buffer owned(ids);
    const Session session = make_session(model_, 64);
    ASSERT_NBL_OK(nbl_session_set(session.get(), "stop", R"(["\n","."])"));
    nbl_generate_options options = NBL_GENERATE_OPTIONS_INIT;
    options.max_new_tokens = 6;
    ASSERT_NBL_OK(nbl_session_generate(session.get(), nbl_buffer_ids(ids), static_cast<int64_t>(nbl_buffer_size(ids) / 4), &options, &generated));
    EXPECT_EQ(at(sample, {"filtered_resps"}).elements()[0].as_string(), json_of(generated).get_string("text").value()) << context;
  }
}

TEST_F(Evaluations, TextsAreMeasuredByTokensWordsAndBytes) {
  nbl_evaluation* e = evaluation();
  define(e, "whole", R"("output_type":"loglikelihood_rolling","doc_to_text":"","doc_to_target":"{{passage}}")");
  define(e, "last", R"("output_type":"loglikelihood","doc_to_text":"{{question}}","doc_to_target":" {{options[gold]}}","metric_list":[{"metric":"perplexity"},{"metric":"acc"}])");
  const Json result = tasks(e);
  double sum = 0, words = 0, bytes = 0;
  for (const Json& sample : at(result, {"samples", "whole"}).elements()) {
    const std::string text(at(sample, {"doc", "passage"}).as_string());
    const Json& first = at(sample, {"filtered_resps"}).elements()[0];
    sum += std::stod(std::string(first.is_array() ? first.elements()[0].as_string() : first.as_string()));
    words += static_cast<double>(std::count(text.begin(), text.end(), ' ') + 1);
    bytes += static_cast<double>(text.size());
  }
  EXPECT_NEAR(at(result, {"results", "whole", "word_perplexity,none"}).as_double() / std::exp(-sum / words), 1, 1e-9);
  EXPECT_NEAR(at(result, {"results", "whole", "byte_perplexity,none"}).as_double() / std::exp(-sum / bytes), 1, 1e-9);
  EXPECT_NEAR(at(result, {"results", "whole", "bits_per_byte,none"}).as_double(), -sum / bytes / std::log(2.0), 1e-9);
  double mean = 0;
  for (const Json& sample : at(result, {"samples", "last"}).elements()) {
    mean += score(std::string(at(sample, {"arguments", "gen_args_0", "arg_0"}).as_string()), std::string(at(sample, {"arguments", "gen_args_0", "arg_1"}).as_string())) / 5;
  }
  EXPECT_NEAR(at(result, {"results", "last", "perplexity,none"}).as_double(), std::exp(-mean), 1e-6);
}

TEST_F(Evaluations, FiltersAndMetricsOfOneTaskEachGiveTheirOwnRow) {
  nbl_evaluation* e = evaluation();
  define(e, "filtered", std::string(kWrite) + R"x(,"repeats":2,"metric_list":[{"metric":"exact_match","ignore_case":true,"ignore_punctuation":true}],"filter_list":[
      {"name":"word","filter":[{"function":"regex","regex_pattern":"(\\w+)"},{"function":"uppercase"},{"function":"take_first"}]},
      {"name":"vote","filter":[{"function":"take_first_k","k":2},{"function":"majority_vote"},{"function":"take_first"}]},
      {"name":"map","filter":[{"function":"map","mapping_dict":{"x":"y"},"default_value":"mat"},{"function":"take_first"}]}])x");
  define(e, "scored", std::string(kWrite) + R"(,"metric_list":[{"metric":"bleu","aggregation":"bleu"},{"metric":"chrf","aggregation":"chrf"}])");
  define(e, "several", R"("output_type":"multiple_choice","doc_to_text":"{{question}}","doc_to_choice":"options","doc_to_target":"golds","metric_list":[{"metric":"acc"},{"metric":"acc_bytes"},{"metric":"exact_match"}])");
  define(e, "coded", R"("output_type":"multiple_choice","doc_to_text":"{{question}}","doc_to_choice":"{{options[:2]}}","doc_to_target":"{{gold % 2}}","metric_list":[{"metric":"f1"},{"metric":"mcc"}])");
  const Json result = tasks(e);
  // Every answer is mapped to "mat", which two of the five questions want.
  EXPECT_DOUBLE_EQ(at(result, {"results", "filtered", "exact_match,map"}).as_double(), 0.4);
  for (const Json& sample : at(result, {"samples", "filtered"}).elements()) {
    if (at(sample, {"filter"}).as_string() != "word") continue;
    const std::string answer(at(sample, {"filtered_resps"}).elements()[0].as_string());
    EXPECT_EQ(std::count_if(answer.begin(), answer.end(), [](char c) { return c >= 'a' && c <= 'z'; }), 0) << answer;
  }
  EXPECT_GE(at(result, {"results", "scored", "chrf,none"}).as_double(), 0);
  EXPECT_LE(at(result, {"results", "scored", "bleu,none"}).as_double(), 100);
  EXPECT_GE(at(result, {"results", "several", "acc,none"}).as_double(), 0);
  const double mcc = at(result, {"results", "coded", "mcc,none"}).as_double();
  EXPECT_TRUE(mcc >= -1 && mcc <= 1) << mcc;
}

TEST_F(Evaluations, ACacheAnswersTheSecondTime) {
  std::string first;
  for (const bool again : {false, true}) {
    nbl_evaluation* e = evaluation();
    define(e, "choose", kChoose);
    define(e, "write", kWrite);
    set(e, "cache", scratch_.file("answers.sqlite").c_str());
    set(e, "batch", again ? "1" : "3");
    const Json result = tasks(e);
    const std::string results = at(result, {"results"}).dump() + at(result, {"samples"}).dump();
    for (const char* task : {"choose", "write"}) EXPECT_EQ(at(result, {"n-samples", task, "cached"}).as_int() > 0, again) << task;
    if (!again) first = results;
    EXPECT_EQ(results, first);
  }
  std::ofstream(scratch_.file("broken")) << "no database, but long enough to be taken for the beginning of one";
  nbl_evaluation* e = evaluation();
  define(e, "choose", kChoose);
  set(e, "cache", scratch_.file("broken").c_str());
  nbl_buffer* out = nullptr;
  EXPECT_NE(nbl_evaluation_tasks(e, &out), NBL_OK);
  EXPECT_NE(std::string(nbl_last_error()).find("broken"), std::string::npos) << nbl_last_error();
}

TEST_F(Evaluations, AModelAgainstItselfDiffersInNothing) {
  nbl_evaluation* e = evaluation();
  EXPECT_NBL_OK(nbl_evaluation_add_model(e, model_.get(), "again"));
  define(e, "choose", kChoose);
  define(e, "write", kWrite);
  const Json result = tasks(e);
  EXPECT_EQ(at(result, {"models"}).size(), 2u);
  EXPECT_EQ(at(result, {"models"}).elements()[0].find("results")->dump(), at(result, {"models"}).elements()[1].find("results")->dump());
  ASSERT_GT(at(result, {"paired"}).size(), 0u);
  const std::string rows = at(result, {"paired"}).dump();
  EXPECT_NE(rows.find("\"again\""), std::string::npos) << rows;
  EXPECT_NE(rows.find("acc"), std::string::npos) << rows;
}

TEST_F(Evaluations, BeamsAreNeverLessLikelyThanTheGreedyAnswer) {
  nbl_evaluation* e = evaluation();
  const std::string rest = R"("output_type":"generate_until","doc_to_text":"{{question}}","doc_to_target":"x","generation_kwargs":{"until":["zzz"],"max_gen_toks":2)";
  define(e, "greedy", rest + "}");
  define(e, "beams", rest + R"(,"num_beams":4})");
  const Json result = tasks(e);
  for (std::size_t i = 0; i < 5; ++i) {
    double logprob[2];
    int which = 0;
    for (const char* task : {"greedy", "beams"}) {
      const Json& sample = at(result, {"samples", task}).elements()[i];
      logprob[which++] = score(std::string(at(sample, {"arguments", "gen_args_0", "arg_0"}).as_string()), std::string(at(sample, {"filtered_resps"}).elements()[0].as_string()));
    }
    EXPECT_GE(logprob[1], logprob[0] - 1e-4) << i;  // of two tokens the greedy ones are among those that four beams keep
  }
}

TEST(Limits, TheMachineCanDoWhatWasMeasured) {
  const Runtime runtime = make_runtime();
  nbl_buffer* out = nullptr;
  ASSERT_NBL_OK(nbl_runtime_measure_limits(runtime.get(), &out));
  const Json limits = json_of(out);
  EXPECT_EQ(at(limits, {"threads"}).as_int(), 2);
  for (const char* name : {"dram_read", "l2_read", "f32_fma", "int8_dot"}) {
    EXPECT_GT(at(limits, {name, "one"}).as_double(), 1e8) << name;
    EXPECT_GT(at(limits, {name, "team"}).as_double(), 1e8) << name;
  }
}

TEST_F(Evaluations, VerdictsOfAJudgeAreCounted) {
  std::filesystem::create_directory(scratch_.file("mt_bench"));
  std::ofstream(scratch_.file("mt_bench/question.jsonl")) << R"({"question_id":1,"category":"x","turns":["Write a word.","Now another."]})" << "\n"
                                                          << R"({"question_id":2,"category":"x","turns":["Write a line."]})" << "\n";
  const auto judged = [&](const char* verdicts) {
    nbl_evaluation* e = evaluation();
    set(e, "tasks", "mt_bench");
    set(e, "max_gen_toks", "4");
    set(e, "verdicts", verdicts);
    return e;
  };
  const Json result = tasks(judged("{\"task\":\"mt_bench\",\"doc_id\":0,\"score\":7}\n{\"task\":\"mt_bench\",\"doc_id\":1,\"score\":4,\"model\":\"prose\"}\n"
                                   "{\"task\":\"mt_bench\",\"doc_id\":1,\"score\":1,\"model\":\"another\"}\n{\"task\":\"other\",\"doc_id\":1,\"score\":1}\n"));
  EXPECT_DOUBLE_EQ(at(result, {"results", "mt_bench", "judge_score,none"}).as_double(), 5.5);
  nbl_buffer* out = nullptr;
  for (const char* bad : {"{", R"({"task":"mt_bench"})", R"({"task":"mt_bench","doc_id":0,"score":"x"})", "{\"task\":\"mt_bench\",\"doc_id\":0,\"score\":1}\n{\"task\":\"mt_bench\",\"doc_id\":0,\"score\":2}"}) {
    EXPECT_NE(nbl_evaluation_tasks(judged(bad), &out), NBL_OK) << bad;
    EXPECT_NE(std::string(nbl_last_error()).find("verdict"), std::string::npos) << nbl_last_error();
  }
}

TEST_F(Evaluations, WhatIsAskedWronglyIsSaid) {
  nbl_buffer* out = nullptr;
  nbl_evaluation* e = evaluation();
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "no task was named", nbl_evaluation_tasks(e, &out));
  set(e, "tasks", "no-such-task*");
  EXPECT_NE(nbl_evaluation_tasks(e, &out), NBL_OK);
  EXPECT_NE(std::string(nbl_last_error()).find("no-such-task"), std::string::npos) << nbl_last_error();
  set(e, "tasks", "gsm8k,leaderboard_musr");
  EXPECT_REFUSED(NBL_E_NOT_FOUND, "nibble.data", nbl_evaluation_tasks(e, &out));
  set(e, "tasks", "");
  define(e, "choose", kChoose);
  const std::string twice = R"({"task":"choose","output_type":"loglikelihood","doc_to_text":"a","doc_to_target":"b","dataset_path":"json","dataset_kwargs":{"data_files":"test.jsonl"},"test_split":"test"})";
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "already", nbl_evaluation_add_task_definition(e, twice.data(), twice.size(), "x"));
  set(e, "apply_chat_template", "true");
  EXPECT_REFUSED(NBL_E_NOT_FOUND, "no chat template", nbl_evaluation_tasks(e, &out));
  set(e, "apply_chat_template", "false");
  const auto stop = [](void*, const nbl_progress*) -> int32_t { return 1; };
  EXPECT_NBL_OK(nbl_evaluation_set_progress(e, stop, nullptr));
  EXPECT_EQ(nbl_evaluation_tasks(e, &out), NBL_E_CANCELLED);
  EXPECT_EQ(out, nullptr);
  for (const char* lines : {"{", "{}", R"({"context":3,"continuation":"a"})", R"({"continuation_ids":3})", R"({"continuation_ids":[-1]})", R"({"context_ids":"a","continuation_ids":[1]})"}) {
    EXPECT_NE(nbl_evaluation_score(e, lines, std::strlen(lines), &out), NBL_OK) << lines;
    EXPECT_NE(std::string(nbl_last_error()).find("request 1"), std::string::npos) << nbl_last_error();
  }
}

TEST_F(Evaluations, EveryProtocolMeasuresTheSameTextInItsWay) {
  const std::string text = read_file(source_file("examples/data/evaluation.txt")).substr(0, 6000);
  nbl_evaluation* e = evaluation();
  EXPECT_NBL_OK(nbl_evaluation_set_text(e, text.data(), text.size(), "evaluation.txt"));
  set(e, "windows", "2");
  const Json protocols = Json::parse(nbl_protocols_json(), "protocols").value();
  ASSERT_GT(protocols.size(), 1u);
  for (const Json& protocol : protocols.elements()) {
    const std::string id(protocol.get_string("id").value());
    set(e, "protocol", id.c_str());
    nbl_buffer* out = nullptr;
    if (id.ends_with("2048")) {  // the model has 1,024 positions
      EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "1024", nbl_evaluation_perplexity(e, &out));
      continue;
    }
    ASSERT_NBL_OK(nbl_evaluation_perplexity(e, &out)) << id;
    const Json result = json_of(out);
    EXPECT_GT(at(result, {"perplexity"}).as_double(), 2) << id;
    EXPECT_LT(at(result, {"perplexity"}).as_double(), 500) << id;
    EXPECT_EQ(at(result, {"protocol"}).as_string(), id);
    EXPECT_EQ(at(result, {"text"}).as_string(), "evaluation.txt");
  }
}

TEST_F(Evaluations, ComparisonTellsWhatEachLayerCosts) {
  const Checkpoint original = open_checkpoint(runtime_);
  nbl_quantizer* raw = nullptr;
  ASSERT_NBL_OK(nbl_quantizer_create(runtime_.get(), "rtn:bits=3,group=64", &raw));
  const Quantizer quantizer(raw);
  ASSERT_NBL_OK(nbl_quantizer_run(raw, original.get(), scratch_.file("m.safetensors").c_str(), nullptr));
  const Model small = open_model(runtime_, NBL_COMPUTE_EXACT, scratch_.file("m.safetensors"));
  nbl_evaluation* e = evaluation();
  EXPECT_NBL_OK(nbl_evaluation_add_model(e, small.get(), "three bits"));
  EXPECT_NBL_OK(nbl_evaluation_add_model(e, model_.get(), "itself"));
  const std::string text = read_file(source_file("examples/data/evaluation.txt")).substr(0, 4000);
  EXPECT_NBL_OK(nbl_evaluation_set_text(e, text.data(), text.size(), nullptr));
  set(e, "windows", "1");
  set(e, "layers", "true");
  nbl_buffer* out = nullptr;
  ASSERT_NBL_OK(nbl_evaluation_compare(e, &out));
  const Json result = json_of(out);
  const Json &rounded = at(result, {"candidates"}).elements()[0], &same = at(result, {"candidates"}).elements()[1];
  ASSERT_EQ(at(rounded, {"layers"}).size(), at(same, {"layers"}).size());
  ASSERT_GT(at(rounded, {"layers"}).size(), 1u);
  EXPECT_EQ(at(same, {"mean_kl"}).as_double(), 0);
  double most = 0;
  for (const Json& layer : at(rounded, {"layers"}).elements()) most = std::max(most, at(layer, {"mean_kl"}).as_double());
  for (const Json& layer : at(same, {"layers"}).elements()) EXPECT_EQ(at(layer, {"mean_kl"}).as_double(), 0);
  EXPECT_GT(most, 0);
  EXPECT_LT(most, at(rounded, {"mean_kl"}).as_double() * 2);
}

TEST_F(Evaluations, SpeedIsMeasuredOfWhateverIsAsked) {
  nbl_evaluation* e = evaluation();
  for (const auto& [name, value] : {std::pair{"speed.prompt", "16"}, std::pair{"speed.gen", "4"}, std::pair{"speed.reps", "2"}, std::pair{"speed.batch", "2"}, std::pair{"speed.contexts", "8,16"},
                                    std::pair{"speed.batches", "1,2"}, std::pair{"speed.profile", "true"}, std::pair{"speed.bandwidth", "true"}, std::pair{"speed.powercap", ""}})
    set(e, name, value);
  nbl_buffer* out = nullptr;
  ASSERT_NBL_OK(nbl_evaluation_speed(e, &out));
  const Json result = json_of(out);
  for (const char* name : {"prefill_tok_s", "decode_tok_s"}) EXPECT_GT(at(result, {name}).is_object() ? at(result, {name, "median"}).as_double() : at(result, {name}).as_double(), 0) << name;
  EXPECT_EQ(at(result, {"prompt"}).as_int(), 16);
  set(e, "speed.contexts", "8,x");
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "speed.contexts", nbl_evaluation_speed(e, &out));
  set(e, "speed.contexts", "99999999");
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "speed.contexts", nbl_evaluation_speed(e, &out));
}

}  // namespace
}  // namespace nbl::test
