// Where the shared models and data lie, for tests that need them.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/file.h"

namespace nbl::text::testing {

inline std::filesystem::path shared_dir() {
  if (const char* dir = std::getenv("NIBBLE_SHARED")) return dir;
  return std::filesystem::path(NIBBLE_SOURCE_DIR) / ".." / "shared";
}

inline std::string read_file(const std::filesystem::path& path) {
  auto text = read_text_file(path, int64_t{1} << 30);
  return text.ok() ? std::move(text).value() : std::string();
}

}  // namespace nbl::text::testing
