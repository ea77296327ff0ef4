// Judging answers: IFEval's instructions and MATH's equivalence against lm-evaluation-harness (tests/golden/eval/make_answers.py), the
// sandbox, languages.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <string>

#include "base/json.h"
#include "eval/ifeval.h"
#include "eval/math_answers.h"
#include "eval/sandbox.h"

namespace nbl::eval {
namespace {

std::vector<Json> golden(const std::string& name) {
  std::ifstream file(std::string(NIBBLE_SOURCE_DIR) + "/tests/golden/eval/" + name);
  std::vector<Json> rows;
  for (std::string line; std::getline(file, line);) rows.push_back(Json::parse(line, name).value());
  return rows;
}

TEST(Instructions, FollowedWhereTheHarnessSaysSo) {
  const std::vector<Json> rows = golden("instructions.jsonl");
  ASSERT_EQ(rows.size(), 506u);
  int wrong = 0;
  for (const Json& row : rows) {
    const std::string id(row.find("id")->as_string());
    const auto follows = follows_instruction(id, *row.find("arguments"), row.find("response")->as_string());
    ASSERT_TRUE(follows.ok()) << follows.status().message();
    if (*follows == row.find("follows")->as_bool()) continue;
    // The harness tells English from other languages by letter statistics, which err on short texts of capitals.
    if (id == "change_case:english_capital" || id == "change_case:english_lowercase") {
      ++wrong;
      continue;
    }
    ADD_FAILURE() << row.dump();
  }
  EXPECT_LE(wrong, 4);
}

TEST(Instructions, LooseLooksAtPartsOfTheAnswer) {
  const std::vector<std::string> ids = {"startend:quotation"};
  const std::vector<Json> none = {Json::object()};
  EXPECT_EQ(follows_instructions(ids, none, "Sure:\n\"here it is\"", false).value(), std::vector<bool>{false});
  EXPECT_EQ(follows_instructions(ids, none, "Sure:\n\"here it is\"", true).value(), std::vector<bool>{true});
  EXPECT_EQ(follows_instructions(ids, none, "*\"here it is\"*", true).value(), std::vector<bool>{true});
  EXPECT_EQ(follows_instruction("startend:nothing", none[0], "x").status().code(), Code::not_found);
  EXPECT_EQ(instruction_ids().size(), 25u);
}

TEST(Instructions, LanguagesAndSentences) {
  const std::pair<const char*, const char*> texts[] = {
      {"en", "The house that we saw was on the hill, and it is not for sale."},
      {"de", "Das Haus, das wir sahen, ist nicht zu verkaufen und steht auf dem Berg."},
      {"pt", "A casa que nós vimos não está à venda e fica no alto da colina."},
      {"it", "La casa che abbiamo visto non è in vendita e si trova sulla collina."},
      {"vi", "Ngôi nhà mà chúng tôi đã thấy không được bán và ở trên đồi."},
      {"fi", "Talo, jonka näimme, ei ole myytävänä ja se on mäen päällä."},
      {"sw", "Nyumba ambayo tuliona haiuzwi na iko juu ya kilima cha mji wa zamani."},
      {"ru", "Дом, который мы видели, не продаётся, и он стоит на холме."},
      {"bg", "Къщата, която видяхме, не се продава и е на хълма до гората."},
      {"ar", "البيت الذي رأيناه ليس للبيع وهو على التل من هذا الطريق"},
      {"fa", "خانه ای که دیدیم برای فروش نیست و این خانه در بالای تپه است"},
      {"ur", "جو گھر ہم نے دیکھا وہ فروخت کے لیے نہیں ہے اور یہ پہاڑی پر ہے"},
      {"hi", "जो घर हमने देखा वह बिक्री के लिए नहीं है और यह पहाड़ी पर है।"},
      {"mr", "आम्ही पाहिलेले घर विक्रीसाठी नाही आणि ते टेकडीवर आहे."},
      {"ne", "हामीले देखेको घर बिक्रीको लागि होइन र यो पहाडमा छ।"},
      {"ko", "우리가 본 집은 팔지 않으며 언덕 위에 있습니다."},
      {"th", "บ้านที่เราเห็นไม่ได้ขายและอยู่บนเนินเขา"},
      {"ta", "நாங்கள் பார்த்த வீடு விற்பனைக்கு இல்லை."},
      {"te", "మేము చూసిన ఇల్లు అమ్మకానికి లేదు."},
      {"kn", "ನಾವು ನೋಡಿದ ಮನೆ ಮಾರಾಟಕ್ಕಿಲ್ಲ."},
      {"gu", "અમે જોયેલું ઘર વેચાણ માટે નથી."},
      {"pa", "ਜੋ ਘਰ ਅਸੀਂ ਦੇਖਿਆ ਉਹ ਵੇਚਣ ਲਈ ਨਹੀਂ ਹੈ।"},
      {"bn", "আমরা যে বাড়ি দেখেছি তা বিক্রির জন্য নয়।"},
      {"he", "הבית שראינו אינו למכירה."},
      {"zh-cn", "我们看到的房子不出售。"},
  };
  for (const auto& [language, text] : texts) EXPECT_EQ(detect_language(text), language) << text;
  EXPECT_EQ(detect_language("123 !?"), "");
  EXPECT_EQ(count_sentences("Mr. Smith paid $3.50 to Dr. Jones. He left at 5 p.m. sharp! \"Did he?\" Yes."), 4);
  EXPECT_EQ(count_sentences(""), 0);
  EXPECT_EQ(count_sentences("no end"), 1);
}

TEST(MathAnswers, EquivalentWhereTheHarnessSaysSo) {
  const std::vector<Json> rows = golden("math.jsonl");
  ASSERT_EQ(rows.size(), 500u);
  for (const Json& row : rows) {
    EXPECT_EQ(same_math_answer(row.find("a")->as_string(), row.find("b")->as_string()), row.find("same")->as_bool()) << row.dump();
    const auto boxed = last_boxed(row.find("solution")->as_string());
    const Json* expected = row.find("boxed");
    ASSERT_EQ(boxed.has_value(), !expected->is_null()) << row.dump();
    if (boxed) {
      EXPECT_EQ(*boxed, expected->as_string());
    }
  }
}

class Sandbox : public ::testing::Test {
 protected:
  static constexpr const char* kPython = "/usr/bin/python3";
  void SetUp() override {
    const auto ran = run_sandboxed(kPython, "pass\n", {});
    if (!ran.ok()) GTEST_SKIP() << ran.status().message();
    ASSERT_EQ(ran->outcome, Outcome::passed) << ran->output;
  }
  static SandboxResult run(std::string_view program, SandboxLimits limits = {}) {
    auto ran = run_sandboxed(kPython, program, limits);
    EXPECT_TRUE(ran.ok());
    return ran.ok() ? *ran : SandboxResult{};
  }
};

TEST_F(Sandbox, PassesAndFails) {
  EXPECT_EQ(run("assert sum(range(5)) == 10\n").outcome, Outcome::passed);
  const SandboxResult failed = run("assert 1 == 2\n");
  EXPECT_EQ(failed.outcome, Outcome::failed);
  EXPECT_NE(failed.output.find("AssertionError"), std::string::npos);
  EXPECT_EQ(run_sandboxed("/no/such/python", "", {}).status().code(), Code::not_found);
  // More text than a pipe holds, before and after.
  EXPECT_EQ(run("x = '" + std::string(300000, 'a') + "'\nprint(x)\n").outcome, Outcome::passed);
}

TEST_F(Sandbox, EndsWhatDoesNotEnd) {
  SandboxLimits limits;
  limits.seconds = 1;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(run("while True: pass\n", limits).outcome, Outcome::timed_out);
  EXPECT_EQ(run("import time, sys\nsys.stdout.close()\ntime.sleep(100)\n", limits).outcome, Outcome::timed_out);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST_F(Sandbox, RefusesProcessesNetworkFilesAndMemory) {
  EXPECT_EQ(run("import os\nwhile True: os.fork()\n").outcome, Outcome::failed);
  EXPECT_EQ(run("import os\nos.system('true')\nimport subprocess\nsubprocess.run(['/bin/true'])\n").outcome, Outcome::failed);
  EXPECT_EQ(run("import socket\nsocket.socket()\n").outcome, Outcome::failed);
  EXPECT_EQ(run("open('nibble-sandbox-test', 'w')\n").outcome, Outcome::failed);
  EXPECT_EQ(run("import os\nos.unlink('/tmp')\n").outcome, Outcome::failed);
  EXPECT_EQ(run("import os\nos.kill(os.getppid(), 9)\n").outcome, Outcome::failed);
  EXPECT_NE(run("x = bytearray(1 << 40)\n").outcome, Outcome::passed);
  EXPECT_EQ(run("import os\nassert len(os.environ) <= 1, os.environ\n").outcome, Outcome::passed);
}

}  // namespace
}  // namespace nbl::eval
