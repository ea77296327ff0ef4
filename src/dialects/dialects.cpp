#include "dialects/dialects.h"

#include <fmt/format.h>

#include "base/memory_files.h"

namespace nbl::dialects {

#define NBL_DIALECT(name) const Dialect& name##_dialect();
#include "dialects/dialects.inc"
#undef NBL_DIALECT

Result<std::unique_ptr<CheckpointWriter>> Dialect::make_writer(const std::filesystem::path&) const {
  return Status(Code::unsupported, fmt::format("format {} can be read, not written", id()));
}

Status Dialect::can_represent(std::string_view name, const QTensor&) const {
  return Status(Code::unsupported, fmt::format("tensor {}: format {} cannot be written", name, id()));
}

std::vector<std::string> Dialect::closest_recipes(const QTensor&) const { return {}; }

std::span<const Dialect* const> dialects() {
#define NBL_DIALECT(name) &name##_dialect(),
  static const Dialect* const kAll[] = {
#include "dialects/dialects.inc"
  };
#undef NBL_DIALECT
  return kAll;
}

Result<const Dialect*> find_dialect(std::string_view id) {
  std::string known;
  for (const Dialect* dialect : dialects()) {
    if (dialect->id() == id) return dialect;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", dialect->id());
  }
  return Status(Code::not_found, fmt::format("unknown format '{}'; known are {}", id, known));
}

Result<const Dialect*> recognise(const std::filesystem::path& path) {
  std::error_code error;
  if (MemoryFiles::at(path) == nullptr && !std::filesystem::exists(path, error)) {
    return Status(Code::not_found, fmt::format("{}: no such file or directory", path.string()));
  }
  for (const Dialect* dialect : dialects()) {
    if (dialect->recognise(path)) return dialect;
  }
  if (directory_exists(path)) {
    return Status(
        Code::unsupported,
        fmt::format("{}: the directory holds no model that is known here: no config.json beside *.safetensors",
                    path.string()));
  }
  if (file_exists(path) && size_of_file(path) == 0) {
    return Status(Code::corrupt, fmt::format("{}: the file is empty", path.string()));
  }
  return Status(
      Code::unsupported,
      fmt::format("{}: not a model file of a known format (native, GGUF, llama2.c, or a directory of safetensors)",
                  path.string()));
}

Result<std::unique_ptr<Checkpoint>> open(const std::filesystem::path& path) {
  NBL_ASSIGN(const Dialect* dialect, recognise(path));
  return dialect->open(path);
}

Result<std::unique_ptr<CheckpointWriter>> create(std::string_view format, const std::filesystem::path& path) {
  NBL_ASSIGN(const Dialect* dialect, find_dialect(format));
  return dialect->make_writer(path);
}

}  // namespace nbl::dialects
