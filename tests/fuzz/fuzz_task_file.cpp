// A user's task file in YAML or JSON: the text's tree, the task made of it, what the task asks of a document, and how it reads and judges
// a few answers.
#include <vector>

#include "eval/fields.h"
#include "eval/own_task.h"
#include "eval/yaml.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = nbl::fuzz::text_of(data, size);
  (void)nbl::fuzz::failed(nbl::eval::parse_yaml(text, "input"));
  const auto task = nbl::eval::parse_task(text, "input");
  if (nbl::fuzz::failed(task)) return 0;
  static const nbl::Json document =
      nbl::Json::parse(R"({"question":"What is 2 + 2?","context":"a","choices":["3","4"],"answer":1,"target":"4","label":0,
                           "text":"b","options":{"A":"1","B":"2"}})",
                       "document")
          .value();
  nbl::eval::Fields fields(document);
  if (task->text) (void)task->text(fields);
  if (task->target) (void)task->target(fields);
  if (task->choices) (void)task->choices(fields);
  if (task->gold) (void)task->gold(fields);
  if (task->describe) (void)task->describe(fields);
  if (task->example && task->example->target) (void)task->example->target(fields);
  for (const nbl::eval::Filter& filter : task->filters) {
    nbl::eval::Answer answer;
    answer.texts = {"It is 4.\n#### 1,234", "(B) 4", "4", "4"};
    if (filter.chain) filter.chain(answer.texts);
    if (answer.texts.empty()) continue;
    answer.text = answer.texts[0];
    std::vector<std::pair<std::string, nbl::eval::MetricValue>> values;
    nbl::eval::MetricSink sink(values);
    if (task->judge) task->judge(fields, answer, sink);
  }
  (void)nbl::fuzz::failed(fields.status());
  return 0;
}
