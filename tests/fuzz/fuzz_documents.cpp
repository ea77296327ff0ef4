// The documents of a task: lines of JSON, and comma-separated values with and without a line of names; then as the files of tasks that
// ask for choices, for a text, and for lines that go together.
#include <array>

#include "eval/evaluate.h"
#include "eval/fields.h"
#include "fuzz/fuzz.h"

namespace {

void load(std::string_view input) {
  static const std::array<nbl::eval::Task, 3> tasks = [] {
    std::array<nbl::eval::Task, 3> made;
    for (nbl::eval::Task& task : made) task.id = "input", task.data = {{"gone.jsonl"}, {"a.jsonl"}, {"b.csv", nbl::eval::read_csv}};
    made[0].text = [](nbl::eval::Fields& fields) { return fields.text("question"); };
    made[0].choices = [](nbl::eval::Fields& fields) { return fields.texts("choices.text"); };
    made[0].gold = [](nbl::eval::Fields& fields) { return fields.integers("answer"); };
    made[1].data_is_all = true;
    made[1].target = [](nbl::eval::Fields& fields) { return fields.text("question"); };
    made[2].data = {{"c.txt"}, {"d.txt"}};
    made[2].data_is_aligned = true;
    return made;
  }();
  const auto& folder = nbl::fuzz::folder();
  const std::size_t half = input.size() / 2;
  folder.put("a.jsonl", input);
  folder.put("b.csv", input);
  folder.put("c.txt", input.substr(0, half));
  folder.put("d.txt", input.substr(half));
  for (const nbl::eval::Task& task : tasks) (void)nbl::fuzz::failed(nbl::eval::load_documents(task, folder.path(), false));
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = nbl::fuzz::text_of(data, size);
  load(text);
  for (const auto read : {nbl::eval::read_jsonl, nbl::eval::read_csv, nbl::eval::read_csv_plain}) {
    const auto records = read(text, "input");
    if (nbl::fuzz::failed(records)) continue;
    for (const nbl::Json& record : *records) {
      nbl::eval::Fields fields(record);
      (void)fields.text("question");
      (void)fields.texts("choices.text");
      (void)fields.integers("answer");
      (void)nbl::fuzz::failed(fields.status());
    }
  }
  return 0;
}
