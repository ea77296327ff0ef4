// The manifest of a native file: a whole file of one tensor around an input that is the manifest's text.
#include <cstdlib>
#include <cstring>
#include <string>

#include "dialects/dialects.h"
#include "fuzz/fuzz.h"

namespace {
constexpr std::string_view kConfig = R"({"model_type":"llama"})";
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto manifest = nbl::fuzz::text_of(data, size);
  const auto offsets = [](size_t from, size_t to) { return "[" + std::to_string(from) + "," + std::to_string(to) + "]"; };
  const size_t first = 8 + kConfig.size(), last = first + size;
  std::string header = R"({"__metadata__":{"format":"nibble","format_version":"1",)"
                       R"("text:config.json":"{\"bytes\":)" + std::to_string(kConfig.size()) +
                       R"(}","text:manifest.json":"{\"bytes\":)" + std::to_string(size) +
                       R"(}"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"nibble.text.config.json":{"dtype":"U8","shape":[)" +
                       std::to_string(kConfig.size()) + R"(],"data_offsets":)" + offsets(8, first) +
                       R"(},"nibble.text.manifest.json":{"dtype":"U8","shape":[)" + std::to_string(size) +
                       R"(],"data_offsets":)" + offsets(first, last) + "}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string file(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, sizeof length);
  file.append(header).append(8, '\1').append(kConfig).append(manifest);
  const auto opened = nbl::dialects::open(nbl::fuzz::folder().put("model.safetensors", file));
  if (!opened.ok()) std::abort();  // what lies around the manifest is in order, and it is read when the hashes are compared
  nbl::fuzz::use(**opened);
  return 0;
}
