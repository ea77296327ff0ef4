// A directory for a job's passing files.
#pragma once

#include <fmt/format.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "cli/cli.h"

namespace nibble::cli {

/// A new directory called `prefix` and six characters; goes away with everything in it when the job ends, however it does. Failure
/// with `code` when it cannot be made.
class Scratch {
 public:
  Scratch(const std::filesystem::path& prefix, int code) {
    std::string pattern = prefix.string() + "XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw Failure(code, fmt::format("cannot make a directory like '{}'", pattern));
    path_ = pattern;
  }
  ~Scratch() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace nibble::cli
