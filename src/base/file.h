// Files: read-only mappings, whole reads, and writes that are all or nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace nbl {

/// A file mapped read-only. Shared: whatever points into it keeps it alive.
class MappedFile {
 public:
  static Result<std::shared_ptr<const MappedFile>> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The whole file as a string; Code::limit when it is larger than max_bytes.
Result<std::string> read_text_file(const std::filesystem::path& path, int64_t max_bytes);

/// A new file that appears under its name only when commit() succeeded: bytes go to a temporary file in the same
/// directory, are synced, and the file is renamed. Destroyed before that, it leaves nothing behind.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) noexcept;

  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text) { return write(std::as_bytes(std::span(text.data(), text.size()))); }
  /// Writes at an absolute position already written before (to fill in a header).
  Status write_at(int64_t offset, std::span<const std::byte> bytes);
  int64_t position() const noexcept;
  /// Syncs and renames. The file must not be used afterwards.
  Status commit();

 private:
  struct State;
  explicit AtomicFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// AtomicFile for text that is already whole.
Status write_text_file(const std::filesystem::path& path, std::string_view text);

}  // namespace nbl
