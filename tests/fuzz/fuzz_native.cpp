// The native file: its descriptors, packed tensors and compressed texts; then its manifest against what lies there.
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nbl::fuzz::open_and_use(nbl::fuzz::folder().put("model.safetensors", nbl::fuzz::text_of(data, size)));
  return 0;
}
