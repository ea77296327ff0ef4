// The documents of a task: lines of JSON, and comma-separated values with and without a line of names.
#include "eval/fields.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = nbl::fuzz::text_of(data, size);
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
