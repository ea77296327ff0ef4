// Built-in tasks on one record each, as its publisher writes it and as the files of klosax's collection have it: the question, the choices
// and the right one as lm-evaluation-harness's definition of the task makes them; and what is said of records that are none.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "eval/fields.h"
#include "eval/task.h"

namespace nbl::eval {
namespace {

struct Asked {
  std::string text, target;
  std::vector<std::string> choices;
  std::vector<int64_t> gold;
  Status status;
};

Json json(const char* text) { return Json::parse(text, "record").value(); }

Asked ask(const char* id, const Json& record) {
  Asked asked;
  const Task* task = find_task(id);
  EXPECT_NE(task, nullptr) << id;
  if (task == nullptr) return asked;
  Fields given(record);
  const Json document = task->process ? task->process(given) : record;
  if (!given.ok()) {
    asked.status = given.status();
    return asked;
  }
  if (document.is_null()) return asked;  // left out
  Fields fields(document);
  if (task->text) asked.text = task->text(fields);
  if (task->choices) asked.choices = task->choices(fields);
  if (task->gold && fields.ok()) asked.gold = task->gold(fields);
  if (task->target) asked.target = task->target(fields);
  asked.status = fields.status();
  return asked;
}

void expect(const char* id, const char* record, const std::string& text, const std::vector<std::string>& choices, std::vector<int64_t> gold) {
  const Asked asked = ask(id, json(record));
  EXPECT_TRUE(asked.status.ok()) << id << ": " << asked.status.message();
  EXPECT_EQ(asked.text, text) << id;
  EXPECT_EQ(asked.choices, choices) << id;
  EXPECT_EQ(asked.gold, gold) << id;
}

void expect_refused(const char* id, const char* record, const std::string& word) {
  const Asked asked = ask(id, json(record));
  EXPECT_FALSE(asked.status.ok()) << id << " took " << record;
  EXPECT_NE(asked.status.message().find(word), std::string::npos) << id << ": " << asked.status.message();
}

TEST(BuiltInTasks, HellaSwag) {
  expect("hellaswag", R"({"activity_label":"Cleaning","ctx_a":"A man [header] wipes.  Then [title] more","ctx_b":"he STOPS","endings":[" a [x] b","c"],"label":"1"})",
         "Cleaning: A man wipes. Then. more He stops", {"a b", "c"}, {1});
  const DataFile& six = find_task("hellaswag")->data[1];
  const auto records = six.read("Cleaning: A man wipes.\r\n2\na\nb\nc\nd\n\n", "val");
  ASSERT_TRUE(records.ok()) << records.status().message();
  expect("hellaswag", records->front().dump().c_str(), "Cleaning: A man wipes.", {"a", "b", "c", "d"}, {2});
  EXPECT_NE(six.read("a: b\n1\n", "val").status().message().find("found 2 lines, expected six"), std::string::npos);
  EXPECT_NE(six.read("a\n1\n2\n3\n4\n5\n", "val").status().message().find("line 1"), std::string::npos);
}

TEST(BuiltInTasks, WinoGrande) {
  const Asked asked = ask("winogrande", json(R"({"sentence":"Ann beat Bob as _ was quick.","option1":"Ann","option2":"Bob","answer":"1"})"));
  EXPECT_EQ(asked.choices, (std::vector<std::string>{"Ann beat Bob as Ann", "Ann beat Bob as Bob"}));
  EXPECT_EQ(asked.target, "was quick.");
  EXPECT_EQ(asked.gold, std::vector<int64_t>{0});
  const Asked other = ask("winogrande", json(R"({"context_options":["The cup broke as Ann","The cup broke as Bob"],"continuation":"was quick.","gold":1})"));
  EXPECT_EQ(other.choices, (std::vector<std::string>{"The cup broke as Ann", "The cup broke as Bob"}));
  EXPECT_EQ(other.target, "was quick.");
  EXPECT_EQ(other.gold, std::vector<int64_t>{1});
  expect_refused("winogrande", R"({"context_options":["a"],"continuation":"b","gold":0})", "two context_options");
  expect_refused("winogrande", R"({"sentence":"no blank","option1":"a","option2":"b","answer":"1"})", "blank");
  expect_refused("winogrande", R"({"sentence":"a _ b","option1":"a","option2":"b","answer":"3"})", "answer");
}

TEST(BuiltInTasks, Copa) {
  expect("copa", R"({"premise":"The man slept. ","question":"cause","choice1":"He was tired.","choice2":"It rained.","label":0})", "The man slept because",
         {" he was tired.", " it rained."}, {0});
  expect("copa", R"({"query":"The man slept, therefore","choices":["He dreamt.","It rained."],"gold":1})", "The man slept therefore", {" he dreamt.", " it rained."}, {1});
  expect_refused("copa", R"({"query":"The man slept","choices":["a","b"],"gold":1})", "therefore");
  expect_refused("copa", R"({"query":"The man slept, because","choices":["a"],"gold":1})", "two choices");
  expect_refused("copa", R"({"premise":"a.","question":"why","choice1":"a","choice2":"b","label":0})", "question");
}

TEST(BuiltInTasks, QuestionsWithChoices) {
  expect("boolq", R"({"passage":"Grass is green.","question":"is grass green","label":1})", "Grass is green.\nQuestion: is grass green?\nAnswer:", {"no", "yes"}, {1});
  expect("boolq", R"({"query":"Passage: Grass is green.\nQuestion: is grass green?","choices":["no","yes"],"gold":1})",
         "Grass is green.\nQuestion: is grass green?\nAnswer:", {"no", "yes"}, {1});
  expect_refused("boolq", R"({"query":"Grass","gold":1})", "Question");
  for (const char* id : {"arc_easy", "arc_challenge"}) {
    expect(id, R"({"question":"What is wet?","choices":{"text":["fire","water"],"label":["1","2"]},"answerKey":"2"})", "Question: What is wet?\nAnswer:", {"fire", "water"}, {1});
    expect(id, R"({"query":"Question: What is wet?","choices":["fire","water"],"gold":1})", "Question: What is wet?\nAnswer:", {"fire", "water"}, {1});
    expect_refused(id, R"({"query":"What?","choices":["a"],"gold":4})", "there are 1 choices");
    expect_refused(id, R"({"question":"What?","choices":{"text":["a"],"label":["A"]},"answerKey":"Z"})", "Z");
  }
  expect("openbookqa", R"({"question_stem":"Water is","choices":{"text":["dry","wet"],"label":["A","B"]},"answerKey":" B"})", "Water is", {"dry", "wet"}, {1});
  expect("openbookqa", R"({"query":"Water is","choices":["dry","wet"],"gold":0})", "Water is", {"dry", "wet"}, {0});
  expect_refused("openbookqa", R"({"query":"Water is","choices":["dry","wet"],"gold":7})", "gold");
  expect("piqa", R"({"goal":"Boil water","sol1":"use a pan","sol2":"use a sieve","label":0})", "Question: Boil water\nAnswer:", {"use a pan", "use a sieve"}, {0});
  expect("piqa", R"({"query":"Question: Boil water\n","choices":["use a pan","use a sieve"],"gold":0})", "Question: Boil water\nAnswer:", {"use a pan", "use a sieve"}, {0});
  expect_refused("piqa", R"({"query":"a","choices":["b"],"gold":0})", "two choices");
  expect("commonsense_qa", R"({"question":" Where? ","choices":{"text":["a","b","c","d","e"],"label":["A","B","C","D","E"]},"answerKey":"C"})",
         "Question: Where?\nA. a\nB. b\nC. c\nD. d\nE. e\nAnswer:", {"A", "B", "C", "D", "E"}, {2});
  expect_refused("commonsense_qa", R"({"question":"Where?","choices":{"text":["a"],"label":["A"]},"answerKey":"A"})", "five choices");
  const std::string asked = "What is 1?\nA. one\nB. two\nC. three\nD. four\nAnswer:";
  expect("mmlu_anatomy", R"({"question":" What is 1? ","choices":["one","two","three","four"],"answer":0})", asked, {"A", "B", "C", "D"}, {0});
  expect("mmlu_anatomy", R"({"0":"What is 1?","1":"one","2":"two","3":"three","4":"four","5":"B"})", asked, {"A", "B", "C", "D"}, {1});
  expect("mmlu_anatomy", R"({"question":"What is 1?","choice0":"one","choice1":"two","choice2":"three","choice3":"four","answer":"2"})", asked, {"A", "B", "C", "D"}, {2});
  expect_refused("mmlu_anatomy", R"({"question":"What is 1?","choices":["one"],"answer":0})", "four choices");
}

TEST(BuiltInTasks, TruthfulQA) {
  const Asked one = ask("truthfulqa_mc1", json(R"({"question":"Is it?","mc1_targets":{"choices":["yes","no"],"labels":[1,0]},"mc2_targets":{"choices":["yes","sure","no"],"labels":[1,1,0]}})"));
  EXPECT_TRUE(one.text.starts_with("Q: What is human life expectancy in the United States?\nA: ")) << one.text;
  EXPECT_TRUE(one.text.ends_with("in Barcelona, Spain.\n\nQ: Is it?\nA:")) << one.text;
  EXPECT_EQ(one.choices, (std::vector<std::string>{"yes", "no"}));
  EXPECT_EQ(one.gold, std::vector<int64_t>{0});
  const Json several = json(R"({"question":"Is it?","mc1_targets":{"yes":1,"no":0},"mc2_targets":{"yes":1,"sure":1,"no":0}})");
  EXPECT_EQ(ask("truthfulqa_mc2", several).choices, (std::vector<std::string>{"yes", "sure", "no"}));
  expect_refused("truthfulqa_mc1", R"({"question":"Is it?","mc1_targets":3})", "mc1_targets");

  // What the answers of the second are worth: the probability that falls on true ones.
  const Task& task = *find_task("truthfulqa_mc2");
  Fields given(several);
  const Json document = task.process(given);
  Fields fields(document);
  Answer answer;
  answer.loglikelihoods = {std::log(0.2), std::log(0.1), std::log(0.1)};
  std::vector<std::pair<std::string, MetricValue>> values;
  MetricSink sink(values);
  task.judge(fields, answer, sink);
  ASSERT_EQ(values.size(), 1u);
  EXPECT_NEAR(values[0].second.numbers[0], 0.75, 1e-12);

  const Asked free = ask("truthfulqa_gen", json(R"({"Question":" Is it? ","Correct Answers":"Yes; It is.;","Incorrect Answers":"No"})"));
  EXPECT_TRUE(free.text.ends_with("\n\nQ: Is it?")) << free.text;
  const Task& generation = *find_task("truthfulqa_gen");
  const Json record = json(R"({"question":"Is it?","correct_answers":["It is so"],"incorrect_answers":["It is not so",""]})");
  Fields raw(record);
  const Json made = generation.process(raw);
  Fields of_made(made);
  values.clear();
  answer.text = "It is so.";
  generation.judge(of_made, answer, sink);
  for (const auto& [name, value] : values) {
    if (name.ends_with("_acc")) {
      EXPECT_EQ(value.numbers[0], 1) << name;
    } else if (name.ends_with("_diff")) {
      EXPECT_GT(value.numbers[0], 0) << name;
    } else if (name == "rouge1_max") {
      EXPECT_NEAR(value.numbers[0], 100, 1e-9);
    }
  }
  EXPECT_EQ(values.size(), 12u);
}

TEST(BuiltInTasks, Bbq) {
  const char* record = R"({"category":"Age","context_condition":"disambig","question_polarity":"neg","context":"Ann, 70, and Bob, 20, met.","question":"Who forgot?","ans0":"Ann","ans1":"Bob","ans2":"Not known",
      "answer_info":{"ans0":["Ann","old"],"ans1":["Bob","nonOld"],"ans2":["Not known","unknown"]},"additional_metadata":{"stereotyped_groups":["old"]},"label":1})";
  const Asked asked = ask("bbq", json(record));
  EXPECT_TRUE(asked.status.ok()) << asked.status.message();
  EXPECT_EQ(asked.text, "Ann, 70, and Bob, 20, met.\n\nQ: Who forgot?\nA:");
  ASSERT_EQ(asked.choices.size(), 12u);
  EXPECT_EQ(asked.choices[0] + asked.choices[1], "AnnBob");
  EXPECT_EQ(asked.gold, std::vector<int64_t>{1});
  const auto judged = [&](const Json& given, std::size_t said) {
    const Task& task = *find_task("bbq");
    Fields raw(given);
    const Json document = task.process(raw);
    Fields fields(document);
    Answer answer;
    answer.loglikelihoods.assign(12, -5.0);
    answer.loglikelihoods[said] = -1;
    std::vector<std::pair<std::string, MetricValue>> values;
    MetricSink sink(values);
    task.judge(fields, answer, sink);
    EXPECT_TRUE(fields.ok()) << fields.status().message();
    std::map<std::string, std::vector<double>> found;
    for (const auto& [name, value] : values) found[name] = value.numbers;
    return found;
  };
  const auto biased = judged(json(record), 0), right = judged(json(record), 1), unknown = judged(json(record), 5);
  EXPECT_EQ(biased.at("acc")[0], 0);
  EXPECT_EQ(right.at("acc")[0], 1);
  EXPECT_EQ(biased.at("disamb_bias_score"), (std::vector<double>{0, 1, 1, 1}));  // accurate, biased, names someone, decided by the context
  EXPECT_EQ(right.at("disamb_bias_score"), (std::vector<double>{1, 0, 1, 1}));
  EXPECT_EQ(unknown.at("disamb_bias_score_Age"), (std::vector<double>{0, 0, 0, 1}));
  EXPECT_TRUE(std::isnan(unknown.at("disamb_bias_score_SES")[1]));
  Json open = json(record);
  open.set("context_condition", "ambig");
  open.set("label", int64_t{2});
  open.set("question_polarity", "nonneg");
  EXPECT_EQ(ask("bbq", open).gold.size(), 10u);
  EXPECT_EQ(judged(open, 5).at("acc")[0], 1);
  EXPECT_EQ(judged(open, 1).at("amb_bias_score"), (std::vector<double>{0, 1, 1, 0}));  // asked kindly, the other group is the biased answer

  // The scores of several documents: 2 * biased / named - 1, times the share of wrong answers where the context leaves it open.
  const Task& task = *find_task("bbq");
  const auto score = [&](const char* name, std::vector<std::vector<double>> rows) {
    std::vector<MetricValue> values;
    for (auto& row : rows) {
      MetricValue value;
      value.numbers = std::move(row);
      values.push_back(std::move(value));
    }
    for (const Metric& metric : task.metrics)
      if (metric.name == name) return metric.aggregation->combine(values);
    ADD_FAILURE() << name;
    return 0.0;
  };
  EXPECT_DOUBLE_EQ(score("disamb_bias_score", {{0, 1, 1, 1}, {1, 0, 1, 1}, {0, 1, 1, 1}, {1, 1, 1, 1}}), 0.5);
  EXPECT_DOUBLE_EQ(score("amb_bias_score", {{0, 1, 1, 0}, {1, 0, 0, 0}, {0, 1, 1, 0}, {0, 0, 1, 0}}), 0.75 * (2.0 * 2 / 3 - 1));
  EXPECT_DOUBLE_EQ(score("accuracy_amb", {{1, 0}, {0, 0}, {1, 1}}), 0.5);
  EXPECT_DOUBLE_EQ(score("accuracy_disamb", {{1, 0}, {0, 0}, {1, 1}}), 1);
  EXPECT_TRUE(std::isnan(score("accuracy_disamb", {{1, 0}})));
  Json broken = json(record);
  broken.set("ans2", "Somebody");
  EXPECT_FALSE(ask("bbq", broken).status.ok());
  broken = json(record);
  broken.set("label", int64_t{5});
  EXPECT_NE(ask("bbq", broken).status.message().find("label"), std::string::npos);
  EXPECT_TRUE(ask("bbq_ambig", json(record)).text.empty()) << "a document of the other condition is left out";
}

TEST(BuiltInTasks, CommaSeparatedValuesAreTypedByTheirColumn) {
  const auto records = read_csv_typed("a,b,c,d\r\n1,2.5,True,x\r\n-7,1e3,False,1\r\n", "file");
  ASSERT_TRUE(records.ok()) << records.status().message();
  EXPECT_EQ((*records)[0].dump(), R"({"a":1,"b":2.5,"c":true,"d":"x"})");
  EXPECT_EQ((*records)[1].find("a")->as_int(), -7);
  EXPECT_EQ((*records)[1].find("b")->as_double(), 1000);
  EXPECT_EQ((*records)[1].find("d")->as_string(), "1");
  EXPECT_EQ(read_csv_typed("", "file")->size(), 0u);
  EXPECT_NE(read_csv_typed("a,b\n1\n", "file").status().message().find("file"), std::string::npos);
}

TEST(BuiltInTasks, FieldsSayWhatIsWrongWithThem) {
  const auto message = [](const char* record, auto&& use) {
    const Json parsed = json(record);
    Fields fields(parsed);
    use(fields);
    EXPECT_FALSE(fields.ok()) << record;
    return fields.ok() ? std::string() : fields.status().message();
  };
  EXPECT_NE(message(R"({"a":3})", [](Fields& f) { f.text("a"); }).find("\"a\" must be a string"), std::string::npos);
  EXPECT_NE(message(R"({"a":[1]})", [](Fields& f) { f.texts("a"); }).find("array of strings"), std::string::npos);
  EXPECT_NE(message(R"({"a":"x"})", [](Fields& f) { f.integer("a"); }).find("\"a\" must be an integer"), std::string::npos);
  EXPECT_NE(message(R"({})", [](Fields& f) { f.text("a.b"); }).find("a.b"), std::string::npos);
  const Json number = json(R"({"a":"12"})");
  Fields fields(number);
  EXPECT_EQ(fields.integer("a"), 12);
  EXPECT_EQ(fields.text_or("b", "else"), "else");
}

}  // namespace
}  // namespace nbl::eval
