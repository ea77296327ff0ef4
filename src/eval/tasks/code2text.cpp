// CodeXGLUE code-to-text (Lu et al., 2021): a sentence that says what a function does, in six languages.
#include "eval/tasks/task_list.h"
#include "eval/text_metrics.h"

namespace nbl::eval {

void code2text_tasks(TaskList& list) {
  TaskGroup group;
  group.id = "code2text";
  group.metrics = {"smoothed_bleu_4,none"};
  for (const std::string language : {"go", "java", "javascript", "php", "python", "ruby"}) {
    Task t;
    t.id = "code2text_" + language;
    t.summary = "describe a " + language + " function (CodeXGLUE), beam search of 10, smoothed BLEU-4";
    t.output = Output::generate;
    t.data = {{"codexglue/" + language + "_test.jsonl"}};
    t.fewshot = {{"codexglue/" + language + "_train.jsonl"}};
    const auto words = [](const std::vector<std::string>& tokens, std::string_view newline) {
      std::string text;
      for (std::size_t i = 0; i < tokens.size(); ++i) text += (i > 0 ? " " : "") + tokens[i];
      return squeezed(replaced(text, "\n", newline));
    };
    t.text = [words](Fields& f) { return words(f.texts("code_tokens"), " "); };
    t.target = [words](Fields& f) { return words(f.texts("docstring_tokens"), ""); };
    t.generation = {{"</s>"}, 128, 10};
    t.judge = [words](Fields& f, const Answer& answer, MetricSink& out) {
      out.add("smoothed_bleu_4", smoothed_bleu_4(words(f.texts("docstring_tokens"), ""), answer.text));
    };
    t.metrics = {mean_of("smoothed_bleu_4")};
    group.members.push_back(t.id);
    list.tasks.push_back(std::move(t));
  }
  list.groups.push_back(std::move(group));
}

}  // namespace nbl::eval
