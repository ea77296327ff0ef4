// The journal of a killed job. An odd first byte: the rest is the file as it lies on the disk; an even one: the rest is the
// content of records whose frames and checksums are in order, parted by what the first byte says.
#include <cstdlib>
#include <string>
#include <vector>

#include "fuzz/fuzz.h"
#include "pipeline/journal.h"

namespace {

using nbl::pipeline::FinishedLayer;
using nbl::pipeline::Journal;

constexpr const char* kJob = R"({"job":1})";

/// What was read can be written, and is read again as it was.
void write_and_read(const std::vector<FinishedLayer>& layers) {
  const auto output = nbl::fuzz::folder().path() / "again.safetensors";
  {
    auto journal = Journal::open(output, kJob, false);
    if (nbl::fuzz::failed(journal)) return;
    for (const FinishedLayer& layer : layers) {
      if (nbl::fuzz::failed(journal->add(layer))) return;
    }
  }
  if (Journal::open(output, "another job", true).ok()) std::abort();
  auto journal = Journal::open(output, kJob, true);
  if (nbl::fuzz::failed(journal)) std::abort();
  for (const FinishedLayer& layer : layers) {
    const auto again = journal->next();
    if (nbl::fuzz::failed(again) || !again->has_value()) std::abort();
    const FinishedLayer& read = **again;
    if (read.layer != layer.layer || read.matrices.size() != layer.matrices.size() || read.arrays.size() != layer.arrays.size() ||
        read.reports.size() != layer.reports.size())
      std::abort();
    for (std::size_t i = 0; i < layer.matrices.size(); ++i) {
      const auto &a = layer.matrices[i], &b = read.matrices[i];
      if (a.first != b.first || a.second.n != b.second.n || a.second.segments.size() != b.second.segments.size()) std::abort();
    }
  }
  if (nbl::fuzz::failed(journal->remove())) std::abort();
}

}  // namespace

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
  std::vector<nbl::pipeline::FinishedLayer> layers;
  for (;;) {
    auto layer = journal->next();
    if (nbl::fuzz::failed(layer) || !layer->has_value()) break;
    for (const auto& [name, array] : (*layer)->arrays) (void)nbl::fuzz::failed(array.to_f32());
    layers.push_back(std::move(**layer));
  }
  (void)nbl::fuzz::failed(journal->add({}));
  write_and_read(layers);
  return 0;
}
