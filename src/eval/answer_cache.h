// Answers kept on disk, so that a run that was killed goes on and a run that is repeated costs nothing.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace nbl::eval {

/// A table in an SQLite file from keys (hashes of model, protocol and request) to answers as JSON. One thread at a time; several
/// processes may share a file. What was stored before a crash is there after it.
class AnswerCache {
 public:
  /// Makes the file when there is none. io: it cannot be opened; corrupt: it is no such file.
  static Result<std::unique_ptr<AnswerCache>> open(const std::filesystem::path& path);
  ~AnswerCache();
  AnswerCache(const AnswerCache&) = delete;
  AnswerCache& operator=(const AnswerCache&) = delete;

  Result<std::optional<std::string>> find(std::string_view key);
  /// All of them or none.
  Status store(std::span<const std::pair<std::string, std::string>> entries);

 private:
  struct Impl;
  explicit AnswerCache(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nbl::eval
