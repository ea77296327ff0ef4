// A llama2.c file with its tokenizer: the first two bytes say how much of the input is the tokenizer.
#include <algorithm>

#include "fuzz/fuzz.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::size_t words = std::min(size - 2, static_cast<std::size_t>(data[0]) + 256u * data[1]);
  const auto bytes = nbl::fuzz::text_of(data + 2, size - 2);
  const auto tokenizer = nbl::text::load_tokenizer_llama2c(bytes.substr(0, words), 512, "input");
  if (!nbl::fuzz::failed(tokenizer)) (void)nbl::fuzz::failed(tokenizer.value()->encode("It was 1 night", {}));
  nbl::fuzz::use_vocabulary({{"tokenizer.bin", std::string(bytes.substr(0, words))}});
  nbl::fuzz::open_and_use(nbl::fuzz::folder().put("model.bin", bytes.substr(words)));
  return 0;
}
