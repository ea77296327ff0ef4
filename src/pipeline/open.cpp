#include <fmt/format.h>

#include <system_error>

#include "base/file.h"
#include "base/memory_files.h"
#include "dialects/dialects.h"
#include "pipeline/pipeline.h"
#include "text/assets.h"

namespace nbl::pipeline {

Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::filesystem::path& path) { return dialects::open(path); }

Result<std::unique_ptr<text::Tokenizer>> load_tokenizer(const Checkpoint& checkpoint) {
  return text::load_tokenizer(text::assets_of(checkpoint));
}

Status spare_input(const Checkpoint& input, const std::filesystem::path& output) {
  namespace fs = std::filesystem;
  const fs::path origin(input.origin());
  std::error_code ec;
  if (is_memory_path(origin) || !MappedFile::maps(output)) return {};
  const fs::path folder = output.has_parent_path() ? output.parent_path() : fs::path(".");
  if (!fs::equivalent(fs::is_directory(origin, ec) ? folder : output, origin, ec)) return {};
  return {Code::invalid_argument, fmt::format("'{}' is a file of the model that is read, and writing there would destroy it: "
                                              "choose another name or folder", output.string())};
}

}  // namespace nbl::pipeline
