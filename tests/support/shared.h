// Where shared models and data lie: NIBBLE_SHARED, or beside the sources.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace nbl::test {

inline std::filesystem::path shared_path(const std::filesystem::path& relative) {
  const char* root = std::getenv("NIBBLE_SHARED");
  return (root != nullptr ? std::filesystem::path(root) : std::filesystem::path(NIBBLE_SOURCE_DIR) / ".." / "shared") /
         relative;
}

}  // namespace nbl::test

/// Skips the test aloud when shared data that it needs is not there.
#define NBL_NEED_SHARED(path)                                                                            \
  if (!std::filesystem::exists(path)) {                                                                  \
    GTEST_SKIP() << (path).string() << " is not there; set NIBBLE_SHARED to where the shared data lies"; \
  }
