// LAMBADA (Paperno et al., 2016), OpenAI's version: the last word of a passage.
#include "eval/tasks/task_list.h"

namespace nbl::eval {

void lambada_tasks(TaskList& list) {
  Task t;
  t.id = "lambada_openai";
  t.tags = {"lambada"};
  t.summary = "the last word of a passage (LAMBADA)";
  t.output = Output::loglikelihood;
  t.data = {{"lambada_openai/test.jsonl"}, {"choice/lambada_openai.jsonl"}};
  t.fewshot_from_test = true;
  t.process = [](Fields& f) {
    if (!f.has("continuation")) return f.record();
    return strings({{"text", f.text("context") + " " + f.text("continuation")}});
  };
  t.text = [](Fields& f) {
    const std::string text = f.text("text");
    const std::size_t space = text.rfind(' ');
    return space == std::string::npos ? std::string() : text.substr(0, space);
  };
  t.target = [](Fields& f) {
    const std::string text = f.text("text");
    return " " + text.substr(text.rfind(' ') + 1);
  };
  t.metrics = {{"perplexity", &kPerplexity, false}, mean_of("acc")};
  list.tasks.push_back(std::move(t));
}

}  // namespace nbl::eval
