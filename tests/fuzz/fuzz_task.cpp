// The JSON lines of a task.
#include "eval/eval.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)nbl::fuzz::failed(nbl::eval::parse_choice_jsonl(nbl::fuzz::text_of(data, size), "input"));
  return 0;
}
