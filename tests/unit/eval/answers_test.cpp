// Judging answers: IFEval's instructions and MATH's equivalence against lm-evaluation-harness (tests/golden/eval/make_answers.py), the
// sandbox, languages.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>

#include "base/json.h"
#include "eval/ifeval.h"
#include "eval/math_answers.h"
#include "eval/sandbox.h"

namespace nbl::eval {
namespace {

/// The shipped cases, or those in the folder that NIBBLE_TEST_ANSWERS names (make_answers.py makes fresh ones).
std::vector<Json> golden(const std::string& name) {
  const char* folder = std::getenv("NIBBLE_TEST_ANSWERS");
  std::ifstream file((folder != nullptr ? std::string(folder) : std::string(NIBBLE_SOURCE_DIR) + "/tests/golden/eval") + "/" + name);
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

// Counts of nltk.tokenize.NLTKWordTokenizer's tokens that str.isupper() holds of.
TEST(Instructions, CapitalWordsArePartedAsNltkPartsThem) {
  const std::pair<const char*, int> texts[] = {
      {"AND/OR in the U.S.A. IT'S", 4},
      {"P.S. more\nNear", 1},
      {"CAN'T CANNOT GONNA stop", 6},
      {"A,B A, B 1,A:2 X:Y", 7},
      {"(NASA) \"USA\" ‘UK’ EU—UN A--B", 7},
      {"WE'LL THEY'RE I'VE 'TIS DOGS' x_Y A_B", 9},
      {"F.B.I...CIA *BOLD* #TAG @ME", 5},
  };
  for (const auto& [text, count] : texts) {
    const auto at_least = [&text = text](int n) {
      const Json arguments = Json::object({{"capital_frequency", n}, {"capital_relation", "at least"}});
      return follows_instruction("change_case:capital_word_frequency", arguments, text).value();
    };
    EXPECT_TRUE(at_least(count)) << text;
    EXPECT_FALSE(at_least(count + 1)) << text;
  }
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
  EXPECT_EQ(run("import os\nif os.fork() == 0: os.setsid()\n").outcome, Outcome::failed);  // nobody is left behind
  EXPECT_EQ(run("import os\nassert len(os.environ) <= 1, os.environ\n").outcome, Outcome::passed);
}

TEST_F(Sandbox, ReachesNoOtherProcess) {
  // Signals by every way there is, limits and priorities of the parent, objects that stay behind, the terminal.
  const std::string call = "import ctypes, os, fcntl, struct\nC = ctypes.CDLL(None, use_errno=True)\nparent = os.getppid()\n";
  const auto refused = [&](const std::string& expression) { return run(call + "assert " + expression + " == -1 and ctypes.get_errno() == 1\n"); };  // EPERM
  for (const std::string expression :
       {"C.kill(parent, 0)", "C.sigqueue(parent, 0, 0)", "C.setpriority(0, parent, 5)", "C.sched_setaffinity(parent, 8, ctypes.create_string_buffer(b'\\1', 8))",
        "C.semget(1234, 1, 0o1600)", "C.msgget(1234, 0o1600)", "C.ptrace(16, parent, 0, 0)", "C.ioctl(0, 0x5412, ctypes.create_string_buffer(b'x'))",
        "C.fcntl(0, 8, parent)", "C.fcntl(0, 10, 9)", "C.sethostname(b'x', 1)", "C.setuid(12345)", "C.mount(b'none', b'/tmp', b'tmpfs', 0, 0)"}) {
    const SandboxResult ran = refused(expression);
    EXPECT_EQ(ran.outcome, Outcome::passed) << expression << "\n" << ran.output;
  }
}

TEST_F(Sandbox, ReadsNoMemoryOfItsParent) {
  // Guarded by capabilities where root runs it, else by Landlock or Yama; a kernel without them is skipped aloud.
  const char* look = "import os\ntry:\n  open(f'/proc/{os.getppid()}/mem', 'rb').read(0)\nexcept OSError: print('refused')\nelse: print('open')\n";
  const SandboxResult ran = run(look);
  ASSERT_EQ(ran.outcome, Outcome::passed) << ran.output;
  if (geteuid() != 0 && ran.output == "open\n") GTEST_SKIP() << "this kernel has neither Landlock nor Yama";
  EXPECT_EQ(ran.output, "refused\n");
}

}  // namespace
}  // namespace nbl::eval
