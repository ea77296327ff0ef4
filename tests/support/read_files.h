// Files behind a function, as a caller of the library gives them: counted, and failing where a test wants it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/memory_files.h"

namespace nbl::test {

/// The files of a directory, or one file and those beside it, read through functions.
class ReadFiles {
 public:
  explicit ReadFiles(const std::filesystem::path& path) {
    const bool directory = std::filesystem::is_directory(path);
    std::vector<MemoryFiles::File> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory ? path : path.parent_path())) {
      if (!entry.is_regular_file() || (!directory && entry.path() != path)) continue;
      std::ifstream stream(entry.path(), std::ios::binary);
      const auto bytes = std::make_shared<const std::string>(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
      total += static_cast<int64_t>(bytes->size());
      const std::string name = entry.path().filename().string();
      files.push_back({name, {}, nullptr, [this, bytes, name](int64_t offset, std::span<std::byte> into) {
                         return read(*bytes, name, offset, into);
                       },
                       static_cast<int64_t>(bytes->size())});
    }
    memory_ = MemoryFiles::create(std::move(files)).value();
    path_ = directory ? memory_->path() : memory_->path() / path.filename();
  }

  const std::filesystem::path& path() const { return path_; }

  int64_t total = 0;    ///< bytes of all files
  int64_t calls = 0, asked = 0, largest = 0;
  int64_t fail_at = -1;  ///< the call, counted from 0, that fails

 private:
  Status read(const std::string& bytes, const std::string& name, int64_t offset, std::span<std::byte> into) {
    const std::lock_guard lock(mutex_);
    if (calls++ == fail_at) return {Code::io, "reading " + name + " failed on purpose"};
    asked += static_cast<int64_t>(into.size());
    largest = std::max(largest, static_cast<int64_t>(into.size()));
    EXPECT_TRUE(offset >= 0 && static_cast<std::size_t>(offset) + into.size() <= bytes.size()) << name << ": past the end";
    std::memcpy(into.data(), bytes.data() + offset, into.size());
    return {};
  }

  std::mutex mutex_;
  std::shared_ptr<const MemoryFiles> memory_;
  std::filesystem::path path_;
};

}  // namespace nbl::test
