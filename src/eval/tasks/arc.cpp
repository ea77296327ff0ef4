// ARC (Clark et al., 2018): questions of school science, easy and challenge sets.
#include "eval/tasks/task_list.h"

namespace nbl::eval {
namespace {

/// The published record; or {query: "Question: ...", choices, gold}.
Json published(Fields& f) {
  if (!f.has("query")) return f.record();
  std::string question = f.text("query");
  if (question.starts_with("Question: ")) question.erase(0, 10);
  const std::vector<std::string> texts = f.texts("choices");
  std::vector<std::string> labels;
  for (std::size_t i = 0; i < texts.size(); ++i) labels.emplace_back(1, static_cast<char>('A' + i));
  const int64_t gold = f.integer("gold");
  if (gold < 0 || gold >= static_cast<int64_t>(texts.size())) {
    f.fail("\"gold\" is " + std::to_string(gold) + ", but there are " + std::to_string(texts.size()) + " choices");
    return Json();
  }
  Json choices = Json::object();
  choices.set("text", string_array(texts));
  choices.set("label", string_array(labels));
  Json doc = strings({{"question", question}, {"answerKey", labels[static_cast<std::size_t>(gold)]}});
  doc.set("choices", std::move(choices));
  return doc;
}

}  // namespace

void arc_tasks(TaskList& list) {
  for (const bool easy : {true, false}) {
    const std::string name = easy ? "arc_easy" : "arc_challenge";
    Task t;
    t.id = name;
    t.tags = {"ai2_arc"};
    t.summary = easy ? "school science questions, the easy set (ARC)" : "school science questions, the challenge set (ARC)";
    t.data = {{name + "/test.jsonl"}, {"choice/" + name + ".jsonl"}};
    t.fewshot = {{name + "/train.jsonl"}};
    t.process = published;
    t.text = [](Fields& f) { return "Question: " + f.text("question") + "\nAnswer:"; };
    t.choices = [](Fields& f) { return f.texts("choices.text"); };
    t.gold = [](Fields& f) { return std::vector<int64_t>{index_of(f, f.texts("choices.label"), f.text("answerKey"))}; };
    t.metrics = {mean_of("acc"), mean_of("acc_norm")};
    list.tasks.push_back(std::move(t));
  }
}

}  // namespace nbl::eval
