// One safetensors file: the container, then whatever dialect thinks that the file is its own.
#include "fuzz/fuzz.h"
#include "io/container.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto path = nbl::fuzz::folder().put("model.safetensors", nbl::fuzz::text_of(data, size));
  const auto container = nbl::io::open_safetensors(path);
  if (!nbl::fuzz::failed(container)) {
    for (const nbl::io::RawTensor& tensor : container.value()->tensors()) (void)nbl::fuzz::failed(nbl::io::to_array(tensor));
  }
  nbl::fuzz::open_and_use(path);
  return 0;
}
