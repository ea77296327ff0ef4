// tokenizer.model: the protobuf, its trainer and normalizer, encoding, and what becomes of it in a GGUF file.
#include "fuzz/fuzz.h"
#include "text/sentencepiece_pieces.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto loaded = nbl::text::load_tokenizer_sentencepiece(nbl::fuzz::text_of(data, size), {}, "input");
  nbl::fuzz::use_vocabulary({{"tokenizer.model", std::string(nbl::fuzz::text_of(data, size))}});
  if (nbl::fuzz::failed(loaded)) return 0;
  const auto ids = loaded.value()->encode("It was 1 night,\n  and caf\xc3\xa9", {.add_special = true});
  if (!nbl::fuzz::failed(ids)) (void)nbl::fuzz::failed(loaded.value()->decode(ids.value(), true));
  const auto pieces = nbl::text::SentencepiecePieces::load(nbl::fuzz::text_of(data, size), "input");
  if (!nbl::fuzz::failed(pieces)) (void)nbl::fuzz::failed(pieces->cut("It was <0x41> \xe4\xbd\xa0\xe4\xbd\xa0,\n  and caf\xc3\xa9"));
  return 0;
}
