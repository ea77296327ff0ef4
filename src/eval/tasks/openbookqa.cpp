// OpenBookQA (Mihaylov et al., 2018): elementary science that needs a fact and common sense.
#include "eval/tasks/task_list.h"

namespace nbl::eval {

void openbookqa_tasks(TaskList& list) {
  Task t;
  t.id = "openbookqa";
  t.summary = "elementary science questions (OpenBookQA)";
  t.data = {{"openbookqa/test.jsonl"}, {"choice/openbook_qa.jsonl"}};
  t.fewshot = {{"openbookqa/train.jsonl"}};
  t.process = [](Fields& f) {
    if (!f.has("query")) return f.record();
    const std::vector<std::string> texts = f.texts("choices");
    std::vector<std::string> labels;
    for (std::size_t i = 0; i < texts.size(); ++i) labels.emplace_back(1, static_cast<char>('A' + i));
    const int64_t gold = f.integer("gold");
    if (gold < 0 || gold >= static_cast<int64_t>(texts.size())) f.fail("\"gold\" is outside the choices");
    Json choices = Json::object();
    choices.set("text", string_array(texts));
    choices.set("label", string_array(labels));
    Json doc = strings({{"question_stem", f.text("query")}});
    doc.set("answerKey", f.ok() ? labels[static_cast<std::size_t>(gold)] : std::string());
    doc.set("choices", std::move(choices));
    return doc;
  };
  t.text = [](Fields& f) { return f.text("question_stem"); };
  t.choices = [](Fields& f) { return f.texts("choices.text"); };
  t.gold = [](Fields& f) {
    return std::vector<int64_t>{index_of(f, f.texts("choices.label"), stripped(f.text("answerKey")))};
  };
  t.metrics = {mean_of("acc"), mean_of("acc_norm")};
  list.tasks.push_back(std::move(t));
}

}  // namespace nbl::eval
