// tokenizer.json: loading, encoding and decoding what was encoded.
#include "fuzz/fuzz.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto loaded = nbl::text::load_tokenizer_json(nbl::fuzz::text_of(data, size), {}, "input");
  if (nbl::fuzz::failed(loaded)) return 0;
  for (const char* text : {"It was 1 night,\n  and\tthe caf\xc3\xa9 <s> was \xf0\x9f\x99\x82 open.", "\xff\xfe", ""}) {
    const auto ids = loaded.value()->encode(text, {.add_special = true});
    if (nbl::fuzz::failed(ids)) continue;
    (void)nbl::fuzz::failed(loaded.value()->decode(ids.value(), false));
    nbl::text::StreamDecoder stream(*loaded.value());
    for (const nbl::text::TokenId id : ids.value()) (void)nbl::fuzz::failed(stream.push(id));
    (void)nbl::fuzz::failed(stream.finish());
  }
  return 0;
}
