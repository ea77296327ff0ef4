// The reading half of the native dialect, and what the writing half shares with it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "tensor/checkpoint.h"

namespace nbl::dialects::native {

bool is_native_file(const std::filesystem::path& path);
Result<std::unique_ptr<Checkpoint>> open_native(const std::filesystem::path& path);

/// SHA-256 over all metadata in key order, each key and value preceded by its length and a colon; the descriptor of the
/// manifest, which holds this hash, is left out.
std::string metadata_hash(const Json& metadata);

}  // namespace nbl::dialects::native
