// A file that is read by ranges: mapped, in the caller's memory, or behind a function of the caller's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "base/file.h"
#include "base/memory_files.h"
#include "base/status.h"
#include "tensor/storage.h"

namespace nbl::io {

class FileSource {
 public:
  static Result<std::shared_ptr<const FileSource>> open(const std::filesystem::path& path);

  int64_t size() const noexcept;
  /// Whether read() gives views of the file and costs nothing.
  bool in_memory() const noexcept { return mapped_ != nullptr; }
  /// The bytes [offset, offset + size): borrowed from the mapping, which they keep alive, or read now into memory of their own. Fails
  /// with Code::corrupt past the end of the file, and as the caller's function does.
  Result<Storage> read(int64_t offset, int64_t size) const;
  /// Those bytes, later: borrowed from the mapping, or a Storage of this size whose data() is null.
  Storage view(int64_t offset, int64_t size) const;

 private:
  FileSource() = default;
  std::string path_;
  std::shared_ptr<const MappedFile> mapped_;
  std::shared_ptr<const MemoryFiles> memory_;
  const MemoryFiles::File* file_ = nullptr;  ///< in memory_
};

/// The first bytes of a file, at most `size` of them; none when it cannot be read.
Storage file_head(const std::filesystem::path& path, int64_t size);

}  // namespace nbl::io
