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

/// While it lives with `whole` set, the files that this thread opens as MappedFile are read into memory instead of mapped: whatever
/// other processes do to such a file afterwards, to cut it short above all, changes nothing and raises no signal.
class FileReadingScope {
 public:
  explicit FileReadingScope(bool whole) noexcept;
  ~FileReadingScope();
  FileReadingScope(const FileReadingScope&) = delete;
  FileReadingScope& operator=(const FileReadingScope&) = delete;

 private:
  bool before_;
};

/// A file mapped read-only, or read whole into a Buffer (FileReadingScope). Shared: whatever points into it keeps it alive.
class MappedFile {
 public:
  /// Code::io when a file that is to be read ends before its size.
  static Result<std::shared_ptr<const MappedFile>> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  /// Gives back the memory in which the pages of all mapped files of this process lie; they are read again when needed.
  static void release_pages() noexcept;
  /// Whether the file that this path leads to is one that this process maps, or holds because it was read.
  static bool maps(const std::filesystem::path& path);
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Names of what lies in a directory, sorted; none when it cannot be read. std::filesystem::directory_iterator ends the process
/// when it gets no memory.
std::vector<std::string> directory_names(const std::filesystem::path& directory);

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

/// A file of checked records, each durable when append() returned. What a crash left of an unfinished one is recognised
/// and cut off.
class RecordFile {
 public:
  /// A new, empty file; one of that name is replaced.
  static Result<RecordFile> create(const std::filesystem::path& path);
  /// An existing one, at its first record. Code::not_found when there is none.
  static Result<RecordFile> open(const std::filesystem::path& path);
  ~RecordFile();
  RecordFile(RecordFile&&) noexcept;
  RecordFile& operator=(RecordFile&&) noexcept;

  /// The next whole record; false at the end of them, from where append() goes on.
  Result<bool> next(std::string* record);
  Status append(std::string_view record);
  /// Deletes the file.
  Status remove();

 private:
  struct State;
  explicit RecordFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// An unnamed file for what does not fit into memory; gone when the process is.
class ScratchFile {
 public:
  static Result<ScratchFile> create(const std::filesystem::path& directory);
  ~ScratchFile();
  ScratchFile(ScratchFile&&) noexcept;
  ScratchFile& operator=(ScratchFile&&) noexcept;

  Status write(int64_t offset, std::span<const std::byte> bytes);
  Status read(int64_t offset, std::span<std::byte> bytes) const;

 private:
  struct State;
  explicit ScratchFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Deletes the temporary files and directories (`.NAME.PROCESS.COUNT.tmp`) that processes no longer alive left beside `path` while
/// they wrote it. AtomicFile::create() does it.
void remove_stale_temporaries(const std::filesystem::path& path) noexcept;

/// AtomicFile for text that is already whole.
Status write_text_file(const std::filesystem::path& path, std::string_view text);

}  // namespace nbl
