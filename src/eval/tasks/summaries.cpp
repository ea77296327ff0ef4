// CNN/DailyMail (See et al., 2017) and XSum (Narayan et al., 2018): summaries, by ROUGE with stems.
#include "eval/tasks/task_list.h"
#include "eval/text_metrics.h"

namespace nbl::eval {
namespace {

Task summary_task(const std::string& id, const char* text_key, const char* summary_key) {
  Task t;
  t.id = id;
  t.output = Output::generate;
  t.text = [text_key](Fields& f) { return "Summarize the following article:\n\n" + f.text(text_key) + "\n\nSummary:"; };
  t.target = [summary_key](Fields& f) { return f.text(summary_key); };
  t.generation.until = {"\n\n"};
  t.generation.max_tokens = 128;
  t.judge = [summary_key](Fields& f, const Answer& answer, MetricSink& out) {
    const std::string reference = squeezed(f.text(summary_key)), said = squeezed(answer.text);
    out.add("rouge1", rouge_n(reference, said, 1, true).f);
    out.add("rouge2", rouge_n(reference, said, 2, true).f);
    out.add("rougeL", rouge_l(reference, said, true).f);
  };
  t.metrics = {mean_of("rouge1"), mean_of("rouge2"), mean_of("rougeL")};
  return t;
}

}  // namespace

void summary_tasks(TaskList& list) {
  Task cnn = summary_task("cnn_dailymail_abisee", "article", "highlights");
  cnn.summary = "summaries of news (CNN/DailyMail): ROUGE-1, -2, -L; without the harness's BERTScore, which is another model's";
  cnn.data = {{"cnn_dailymail/test.jsonl"}};
  list.tasks.push_back(std::move(cnn));
  Task xsum = summary_task("xsum", "document", "summary");
  xsum.summary = "one-sentence summaries (XSum): ROUGE-1, -2, -L; prompt as cnn_dailymail_abisee";
  xsum.data = {{"xsum/test.jsonl"}};
  list.tasks.push_back(std::move(xsum));
}

}  // namespace nbl::eval
