#include "base/memory_files.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <mutex>
#include <set>

namespace nbl {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "memory:";

// The directories that live, by number.
struct Register {
  std::mutex mutex;
  std::map<uint64_t, const MemoryFiles*> all;
  uint64_t next = 1;
};
Register& directories() {
  static Register* const instance = new Register;  // never destroyed: directories may outlive static objects
  return *instance;
}

/// "memory:12/name" into 12 and "name"; 0 for anything else.
uint64_t split(std::string_view path, std::string_view* name) {
  if (!path.starts_with(kPrefix)) return 0;
  path.remove_prefix(kPrefix.size());
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), number);
  if (error != std::errc()) return 0;
  path.remove_prefix(static_cast<std::size_t>(end - path.data()));
  if (!path.empty() && path.front() != '/') return 0;
  *name = path.empty() ? path : path.substr(1);
  return name->find('/') == name->npos ? number : 0;
}

}  // namespace

MemoryFiles::MemoryFiles(std::vector<File> files) : files_(std::move(files)) {
  Register& all = directories();
  const std::lock_guard lock(all.mutex);
  number_ = all.next++;
  path_ = fmt::format("{}{}", kPrefix, number_);
  all.all.emplace(number_, this);
}

MemoryFiles::~MemoryFiles() {
  const std::lock_guard lock(directories().mutex);
  directories().all.erase(number_);
}

Result<std::shared_ptr<const MemoryFiles>> MemoryFiles::create(std::vector<File> files) {
  std::set<std::string_view> names;
  for (const File& file : files) {
    const std::string& name = file.name;
    if (name.empty() || name.size() > 255 || name == "." || name == ".." || name.find_first_of(std::string_view("/\\\0", 3)) != name.npos) {
      return Status(Code::invalid_argument, fmt::format("'{}' is no plain file name", name.substr(0, 100)));
    }
    if (!names.insert(name).second) return Status(Code::invalid_argument, fmt::format("two files are named '{}'", name));
  }
  return std::shared_ptr<const MemoryFiles>(new MemoryFiles(std::move(files)));
}

const MemoryFiles::File* MemoryFiles::find(std::string_view name) const noexcept {
  for (const File& file : files_) {
    if (file.name == name) return &file;
  }
  return nullptr;
}

std::shared_ptr<const MemoryFiles> MemoryFiles::at(const fs::path& path) {
  std::string_view name;
  const uint64_t number = split(path.native(), &name);
  if (number == 0) return nullptr;
  Register& all = directories();
  const std::lock_guard lock(all.mutex);
  const auto it = all.all.find(number);
  return it == all.all.end() ? nullptr : it->second->weak_from_this().lock();
}

bool is_memory_path(const fs::path& path) noexcept {
  std::string_view name;
  return split(path.native(), &name) != 0;
}

bool file_exists(const fs::path& path) {
  if (const auto memory = MemoryFiles::at(path)) return memory->find(path.filename().native()) != nullptr;
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool directory_exists(const fs::path& path) {
  if (const auto memory = MemoryFiles::at(path)) return path == memory->path();
  std::error_code error;
  return fs::is_directory(path, error);
}

int64_t size_of_file(const fs::path& path) {
  if (const auto memory = MemoryFiles::at(path)) {
    const MemoryFiles::File* file = memory->find(path.filename().native());
    return file == nullptr ? 0 : file->size();
  }
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

}  // namespace nbl
