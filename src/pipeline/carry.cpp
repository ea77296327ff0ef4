#include "pipeline/carry.h"

namespace nbl::pipeline {

Status carry_texts(const Checkpoint& input, CheckpointWriter& writer) {
  Json config = input.config();
  config.erase("quantization_config");  // described the input's encoding; the manifest describes the output's
  NBL_TRY(writer.set_config(config));
  for (const std::string& name : input.asset_names()) {
    if (name == "manifest.json" || name == "config.json" || name == "quantize_config.json") continue;
    NBL_ASSIGN(const std::string bytes, input.asset(name));
    NBL_TRY(writer.add_asset(name, bytes));
  }
  return {};
}

int64_t bytes_at(const std::filesystem::path& path) {
  std::error_code ec;
  if (!std::filesystem::is_directory(path, ec)) {
    const auto size = std::filesystem::file_size(path, ec);
    return ec ? 0 : static_cast<int64_t>(size);
  }
  int64_t total = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path, ec)) {
    const auto size = entry.file_size(ec);
    if (!ec) total += static_cast<int64_t>(size);
  }
  return total;
}

}  // namespace nbl::pipeline
