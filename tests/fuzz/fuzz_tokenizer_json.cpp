// tokenizer.json: loading, encoding and decoding what was encoded; what lies behind a record separator is tokenizer_config.json.
#include <algorithm>

#include "fuzz/fuzz.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto input = nbl::fuzz::text_of(data, size);
  const std::size_t end = std::min(input.find('\x1e'), input.size());
  const auto json = input.substr(0, end), config = input.substr(std::min(end + 1, input.size()));
  const auto loaded = nbl::text::load_tokenizer_json(json, config, "input");
  std::map<std::string, std::string, std::less<>> files{{"tokenizer.json", std::string(json)}};
  if (!config.empty()) files.emplace("tokenizer_config.json", config);
  nbl::fuzz::use_vocabulary(files);
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
