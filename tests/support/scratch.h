// A directory of one test's own that goes away with what is in it, and where shared models and data lie.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

namespace nbl::testing {

class Scratch {
 public:
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "nibble-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~Scratch() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }
  /// Number of entries in it, hidden ones too.
  int entries() const {
    int count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_)) ++count;
    return count;
  }

 private:
  std::filesystem::path path_;
};

/// models/, data/ of the shared folder: NIBBLE_SHARED, else beside the source tree.
inline std::filesystem::path shared(const std::string& name) {
  const char* given = std::getenv("NIBBLE_SHARED");
  const std::filesystem::path root =
      given != nullptr ? given : std::filesystem::path(NIBBLE_SOURCE_DIR) / ".." / "shared";
  return root / name;
}

}  // namespace nbl::testing

/// Skips the test, saying so, when a shared file is not there.
#define NBL_NEED_SHARED(name)                                        \
  do {                                                               \
    if (!std::filesystem::exists(::nbl::testing::shared(name)))      \
      GTEST_SKIP() << ::nbl::testing::shared(name) << " is missing"; \
  } while (false)
