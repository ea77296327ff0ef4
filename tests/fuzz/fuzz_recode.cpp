// A quantized checkpoint, read and written in another dialect, which is then read: the first byte says which one; config.json, a line break
// and model.safetensors follow.
#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "dialects/dialects.h"
#include "fuzz/fuzz.h"
#include "pipeline/convert.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  static nbl::Team team(1);
  static const std::vector<const nbl::dialects::Dialect*> written = [] {
    std::vector<const nbl::dialects::Dialect*> list;
    for (const nbl::dialects::Dialect* each : nbl::dialects::dialects())
      if (each->can_write()) list.push_back(each);
    return list;
  }();
  const auto bytes = nbl::fuzz::text_of(data + 1, size - 1);
  const std::size_t end = std::min(bytes.find('\n'), bytes.size());
  const auto& folder = nbl::fuzz::folder();
  folder.put("model/config.json", bytes.substr(0, end));
  folder.put("model/model.safetensors", bytes.substr(std::min(end + 1, bytes.size())));
  const auto opened = nbl::dialects::open(folder.path() / "model");
  if (nbl::fuzz::failed(opened)) return 0;
  const auto output = folder.path() / "out";
  std::error_code ec;
  std::filesystem::remove_all(output, ec);
  nbl::pipeline::ConvertOptions options;
  options.format = written[data[0] / 2 % written.size()]->id();
  options.allow_lossy = data[0] % 2 == 1;
  options.verify = true;
  const auto report = nbl::pipeline::convert(**opened, output, options, team, {});
  if (!nbl::fuzz::failed(report) && report->written) nbl::fuzz::open_and_use(output);
  return 0;
}
