#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <system_error>
#include <vector>

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
  std::error_code ec;
  if (is_memory_path(input.origin()) || !MappedFile::maps(output)) return {};
  const fs::path folder = output.has_parent_path() ? output.parent_path() : fs::path(".");
  const std::vector<std::string> sources = input.sources();
  const bool one_of_its = std::any_of(sources.begin(), sources.end(), [&](const fs::path& source) {
    return fs::equivalent(fs::is_directory(source, ec) ? folder : output, source, ec);
  });
  if (!one_of_its) return {};
  return {Code::invalid_argument, fmt::format("'{}' is a file of the model that is read, and writing there would destroy it: "
                                              "choose another name or folder", output.string())};
}

}  // namespace nbl::pipeline
