// The tensors of each quantized dialect: the input is config.json, a line break, and model.safetensors.
#include <algorithm>

#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = nbl::fuzz::text_of(data, size);
  const std::size_t end = std::min(bytes.find('\n'), bytes.size());
  const auto& folder = nbl::fuzz::folder();
  folder.put("config.json", bytes.substr(0, end));
  folder.put("model.safetensors", bytes.substr(std::min(end + 1, bytes.size())));
  nbl::fuzz::open_and_use(folder.path());
  return 0;
}
