// A GGUF file: the container, the checkpoint, and the tokenizer in its metadata.
#include "fuzz/fuzz.h"
#include "io/container.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto path = nbl::fuzz::folder().put("model.gguf", nbl::fuzz::text_of(data, size));
  const auto container = nbl::io::open_gguf(path);
  if (!nbl::fuzz::failed(container)) {
    for (const nbl::io::RawTensor& tensor : container.value()->tensors()) (void)nbl::fuzz::failed(nbl::io::to_array(tensor));
    const auto tokenizer = nbl::text::load_tokenizer_gguf(container.value()->metadata(), "input");
    if (!nbl::fuzz::failed(tokenizer)) (void)nbl::fuzz::failed(tokenizer.value()->encode("It was 1 night", {}));
    nbl::Json entries = nbl::Json::object();
    for (const auto& [key, value] : container.value()->metadata().members())
      if (key.starts_with("tokenizer.")) entries.set(key, value);
    if (entries.size() > 0) nbl::fuzz::use_vocabulary({{"tokenizer.gguf", entries.dump()}});
  }
  nbl::fuzz::open_and_use(path);
  return 0;
}
