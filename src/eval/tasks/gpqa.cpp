// GPQA (Rein et al., 2023): questions that experts wrote so that a search engine does not answer them. The harness shuffles the
// choices anew in each run; here a question's own words are the seed, so that a run can be repeated.
#include "base/random.h"
#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

std::string cleaned(Fields& f, const char* key) {
  return replaced(replaced(stripped(f.text(key)), " [title]", ". "), "  ", " ");
}

Json with_choices(Fields& f) {
  const std::string question = f.text("Question"), right = cleaned(f, "Correct Answer");
  std::vector<std::string> choices = {cleaned(f, "Incorrect Answer 1"), cleaned(f, "Incorrect Answer 2"),
                                      cleaned(f, "Incorrect Answer 3"), right};
  uint64_t seed = 14695981039346656037ull;
  for (const char c : question) seed = (seed ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  Random random(seed);
  for (std::size_t i = choices.size(); i > 1; --i) std::swap(choices[i - 1], choices[random.below(i)]);
  Json doc = strings({{"Question", question}});
  for (std::size_t i = 0; i < choices.size(); ++i) doc.set("choice" + std::to_string(i + 1), choices[i]);
  doc.set("answer", index_of(f, choices, right));
  return doc;
}

}  // namespace

void gpqa_tasks(TaskList& list) {
  for (const std::string set : {"main", "diamond", "extended"}) {
    Task t;
    t.id = "gpqa_" + set + "_zeroshot";
    t.version = "2.2";
    t.tags = {"gpqa"};
    t.summary = "graduate questions, the " + set + " set (GPQA), choices shuffled by question";
    t.zero_shot = true;
    t.data = {{"gpqa/gpqa_" + set + ".jsonl"}, {"gpqa/gpqa_" + set + ".csv", read_csv}};
    t.process = with_choices;
    t.text = [](Fields& f) {
      std::string text = "What is the correct answer to this question:" + f.text("Question") + "\nChoices:\n";
      for (int i = 0; i < 4; ++i)
        text += std::string("(") + static_cast<char>('A' + i) + ") " + f.text("choice" + std::to_string(i + 1)) + "\n";
      return text + "Answer:";
    };
    t.choices = [](Fields&) { return std::vector<std::string>{"(A)", "(B)", "(C)", "(D)"}; };
    t.gold = [](Fields& f) { return std::vector<int64_t>{f.integer("answer")}; };
    t.metrics = {mean_of("acc"), mean_of("acc_norm")};
    list.tasks.push_back(std::move(t));
  }
}

}  // namespace nbl::eval
