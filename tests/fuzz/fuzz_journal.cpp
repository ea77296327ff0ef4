// The journal of a killed job. An odd first byte: the rest is the file as it lies on the disk; an even one: the rest is the
// content of records whose frames and checksums are in order, parted by what the first byte says.
#include <string>

#include "fuzz/fuzz.h"
#include "pipeline/journal.h"

namespace {
constexpr const char* kJob = R"({"job":1})";
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto bytes = nbl::fuzz::text_of(data + 1, size - 1);
  const auto& folder = nbl::fuzz::folder();
  const auto output = folder.path() / "out.safetensors";
  const auto path = nbl::pipeline::Journal::path_for(output);
  if (data[0] % 2 == 1) {
    folder.put(path.filename().string(), bytes);
  } else {
    auto file = nbl::RecordFile::create(path);
    if (!file.ok()) return 0;
    const std::size_t first = bytes.size() * data[0] / 256;
    for (const std::string_view record : {std::string_view(kJob), bytes.substr(first), bytes.substr(0, first)}) {
      if (nbl::fuzz::failed(file->append(record))) return 0;
    }
  }
  auto journal = nbl::pipeline::Journal::open(output, kJob, true);
  if (nbl::fuzz::failed(journal)) return 0;
  for (;;) {
    const auto layer = journal->next();
    if (nbl::fuzz::failed(layer) || !layer->has_value()) break;
    for (const auto& [name, array] : (*layer)->arrays) (void)nbl::fuzz::failed(array.to_f32());
  }
  (void)nbl::fuzz::failed(journal->add({}));
  return 0;
}
