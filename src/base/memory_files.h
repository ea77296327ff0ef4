// Files that lie in memory, seen by the readers as files of a directory; and the questions about files that are answered for both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"

namespace nbl {

/// A directory of files in memory, or behind functions that read them. While it lives, its files are found under path(), a name that no
/// file of the system is looked up by: MappedFile::open (which then keeps it alive, and reads a file behind a function whole),
/// io::FileSource, read_text_file and the functions below know it.
class MemoryFiles : public std::enable_shared_from_this<MemoryFiles> {
 public:
  struct File {
    std::string name;
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> keep_alive;
    /// For a file that lies nowhere (bytes is empty then): fills `into` from `offset`. Called from any thread, several at once.
    std::function<Status(int64_t offset, std::span<std::byte> into)> read = nullptr;
    int64_t read_size = 0;  ///< of such a file

    int64_t size() const noexcept { return read ? read_size : static_cast<int64_t>(bytes.size()); }
  };
  /// Code::invalid_argument for a name that is none or is there twice.
  static Result<std::shared_ptr<const MemoryFiles>> create(std::vector<File> files);
  ~MemoryFiles();
  MemoryFiles(const MemoryFiles&) = delete;
  MemoryFiles& operator=(const MemoryFiles&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  const std::vector<File>& files() const noexcept { return files_; }
  const File* find(std::string_view name) const noexcept;

  /// The directory of which `path` is, or names a file; null for a path of the system.
  static std::shared_ptr<const MemoryFiles> at(const std::filesystem::path& path);

 private:
  explicit MemoryFiles(std::vector<File> files);
  std::vector<File> files_;
  std::filesystem::path path_;
  uint64_t number_;
};

/// A place in MemoryFiles. Such a path means something only in this process and while they live.
bool is_memory_path(const std::filesystem::path& path) noexcept;

bool file_exists(const std::filesystem::path& path);
bool directory_exists(const std::filesystem::path& path);
/// In bytes; 0 when there is no such file.
int64_t size_of_file(const std::filesystem::path& path);

}  // namespace nbl
