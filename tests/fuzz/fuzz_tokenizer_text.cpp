// Any text through a tokenizer that loses nothing: decoding gives the text back when it is valid UTF-8.
#include <cstdlib>

#include "base/file.h"
#include "fuzz/fuzz.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto tokenizer = [] {
    const std::string json = nbl::read_text_file(NIBBLE_SOURCE_DIR "/examples/models/prose-3.7m/tokenizer.json", 1 << 26).value();
    auto loaded = nbl::text::load_tokenizer_json(json, {}, "prose-3.7m");
    if (!loaded.ok()) std::abort();
    return std::move(loaded).value();
  }();
  const auto text = nbl::fuzz::text_of(data, size);
  const auto ids = tokenizer->encode(text, {.parse_special = false});
  if (nbl::fuzz::failed(ids)) return 0;
  const auto back = tokenizer->decode(ids.value(), false);
  if (nbl::fuzz::failed(back)) return 0;
  if (nbl::text::is_valid_utf8(text) && back.value() != text) std::abort();
  return 0;
}
