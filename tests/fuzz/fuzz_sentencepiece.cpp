// tokenizer.model: the protobuf, its trainer and normalizer, encoding, and what becomes of it in a GGUF file.
#include "fuzz/fuzz.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto loaded = nbl::text::load_tokenizer_sentencepiece(nbl::fuzz::text_of(data, size), {}, "input");
  nbl::fuzz::use_vocabulary({{"tokenizer.model", std::string(nbl::fuzz::text_of(data, size))}});
  if (nbl::fuzz::failed(loaded)) return 0;
  const auto ids = loaded.value()->encode("It was 1 night,\n  and caf\xc3\xa9", {.add_special = true});
  if (!nbl::fuzz::failed(ids)) (void)nbl::fuzz::failed(loaded.value()->decode(ids.value(), true));
  return 0;
}
