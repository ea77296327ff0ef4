// What goes with the weights from one checkpoint into another.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/status.h"
#include "tensor/checkpoint.h"

namespace nbl::pipeline {

/// The config, less what it says about the input's own encoding, and every text but manifests.
Status carry_texts(const Checkpoint& input, CheckpointWriter& writer);

/// Bytes of a file, or of all the files in a directory; 0 when there is nothing.
int64_t bytes_at(const std::filesystem::path& path);

}  // namespace nbl::pipeline
