// A GGUF file: the container, the checkpoint, and the tokenizer in its metadata. Where a line says so, the next part of a split model
// follows, and each lies in a file of its own.
#include <fmt/format.h>

#include <vector>

#include "fuzz/fuzz.h"
#include "io/container.h"
#include "text/tokenizer.h"

namespace {

std::filesystem::path put(std::string_view input) {
  constexpr std::string_view kBetween = "\nnext part of the model\n";
  std::vector<std::string_view> parts;
  while (parts.size() < 8) {
    const std::size_t end = input.find(kBetween);
    parts.push_back(input.substr(0, end));
    if (end == std::string_view::npos) break;
    input.remove_prefix(end + kBetween.size());
  }
  if (parts.size() == 1) return nbl::fuzz::folder().put("model.gguf", parts[0]);
  for (std::size_t i = parts.size(); i-- > 1;) nbl::fuzz::folder().put(fmt::format("model-{:05}-of-{:05}.gguf", i + 1, parts.size()), parts[i]);
  return nbl::fuzz::folder().put(fmt::format("model-{:05}-of-{:05}.gguf", 1, parts.size()), parts[0]);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto path = put(nbl::fuzz::text_of(data, size));
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
