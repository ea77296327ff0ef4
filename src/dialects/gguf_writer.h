// Writing GGUF: names, rows, metadata and vocabulary as llama.cpp has them.
#pragma once

#include <filesystem>
#include <memory>

#include "base/status.h"
#include "tensor/checkpoint.h"

namespace nbl::dialects {

Result<std::unique_ptr<CheckpointWriter>> make_gguf_writer(const std::filesystem::path& path);

}  // namespace nbl::dialects
