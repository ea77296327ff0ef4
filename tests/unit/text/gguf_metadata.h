// The key-values of a GGUF file, read plainly: text's tests do not reach into io.
#pragma once

#include <filesystem>

#include "base/json.h"

namespace nbl::text::testing {

/// Null when the file cannot be read.
Json gguf_metadata(const std::filesystem::path& path);

}  // namespace nbl::text::testing
