// Writing what was read: config.json and tokenizer.json (behind a record separator) are the input, around the weights of a tiny model, and
// the checkpoint is written as GGUF, as a directory or as a native file.
#include <algorithm>

#include "base/file.h"
#include "base/parallel.h"
#include "dialects/dialects.h"
#include "fuzz/fuzz.h"
#include "pipeline/convert.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string weights = [] {
    return nbl::read_text_file(NIBBLE_SOURCE_DIR "/tests/golden/logits/tiny/llama/model.safetensors", 1 << 26).value();
  }();
  static nbl::Team team(1);
  const auto input = nbl::fuzz::text_of(data, size);
  const std::size_t end = std::min(input.find('\x1e'), input.size());
  const auto& folder = nbl::fuzz::folder();
  folder.put("model/config.json", input.substr(0, end));
  folder.put("model/tokenizer.json", input.substr(std::min(end + 1, input.size())));
  folder.put("model/model.safetensors", weights);
  const auto opened = nbl::dialects::open(folder.path() / "model");
  if (nbl::fuzz::failed(opened)) return 0;
  const auto output = folder.path() / "out";
  std::error_code ec;
  std::filesystem::remove_all(output, ec);
  static constexpr const char* kFormats[] = {"gguf", "native", "gptq"};
  nbl::pipeline::ConvertOptions options;
  options.format = kFormats[size % std::size(kFormats)];  // one an input: each is a whole job
  options.allow_lossy = true;
  const auto report = nbl::pipeline::convert(*opened.value(), output, options, team, {});
  if (!nbl::fuzz::failed(report) && report->written) nbl::fuzz::open_and_use(output);
  return 0;
}
