#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <string_view>
#include <system_error>

#include "base/buffer.h"
#include "base/cpu.h"
#include "base/memory_files.h"
#include "base/retrying.h"

namespace nbl {
namespace {

namespace fs = std::filesystem;

// Writes are gathered into pieces of this size at multiples of it. What is written a large page at a time lies on large pages in the
// system's cache, where its file system can: whoever maps the file has it mapped at once and reads it faster.
constexpr int64_t kPiece = int64_t{2} << 20;

Code code_of(int error) noexcept {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return Code::not_found;
    case ENOMEM:
      return Code::out_of_memory;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
      return Code::limit;
    case ENAMETOOLONG:
    case EISDIR:
    case EINVAL:
      return Code::invalid_argument;
    default:
      return Code::io;
  }
}

Status system_error(int error, std::string_view verb, const fs::path& path) {
  return {code_of(error),
          fmt::format("cannot {} '{}': {}", verb, path.string(), std::generic_category().message(error))};
}

class Descriptor {
 public:
  Descriptor() noexcept = default;
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    reset();
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }
  int get() const noexcept { return fd_; }
  /// 0, or the error that close() met: some file systems report a failed write only there.
  int close() noexcept {
    const int fd = std::exchange(fd_, -1);
    return fd >= 0 && ::close(fd) != 0 && errno != EINTR ? errno : 0;
  }
  void reset() noexcept { (void)close(); }

 private:
  int fd_ = -1;
};

struct OpenedFile {
  Descriptor fd;
  int64_t size = 0;
  dev_t device = 0;
  ino_t inode = 0;
};

Result<OpenedFile> open_regular(const fs::path& path) {
  // Non-blocking, so that a pipe of that name does not wait for its writer; regular files ignore it.
  OpenedFile file{Descriptor(open_retrying(path.c_str(), O_RDONLY | O_NONBLOCK))};
  if (file.fd.get() < 0) return system_error(errno, "open", path);
  struct stat st;
  if (::fstat(file.fd.get(), &st) != 0) return system_error(errno, "examine", path);
  if (S_ISDIR(st.st_mode)) {
    return Status(Code::invalid_argument, fmt::format("'{}' is a directory, not a file", path.string()));
  }
  if (!S_ISREG(st.st_mode)) {
    return Status(Code::invalid_argument, fmt::format("'{}' is not a regular file", path.string()));
  }
  file.size = st.st_size;
  file.device = st.st_dev;
  file.inode = st.st_ino;
  return file;
}

// A write past the process's file-size limit raises SIGXFSZ, which kills by default. A library must turn it into an
// error: the signal goes to the writing thread, so it is blocked here and, if it came, taken away again.
class FileSizeSignalGuard {
 public:
  FileSizeSignalGuard() noexcept {
    sigemptyset(&signal_);
    sigaddset(&signal_, SIGXFSZ);
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGXFSZ) == 1;
    active_ = ::pthread_sigmask(SIG_BLOCK, &signal_, &before_) == 0;
  }
  ~FileSizeSignalGuard() {
    if (!active_) return;
    const int error = errno;
    if (!was_pending_) {
      const timespec now{0, 0};
      while (::sigtimedwait(&signal_, nullptr, &now) == -1 && errno == EINTR) {
      }
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }
  FileSizeSignalGuard(const FileSizeSignalGuard&) = delete;
  FileSizeSignalGuard& operator=(const FileSizeSignalGuard&) = delete;

 private:
  sigset_t signal_{};
  sigset_t before_{};
  bool was_pending_ = false;
  bool active_ = false;
};

// 0 or the errno.
int write_all(int fd, std::span<const std::byte> bytes, int64_t offset) noexcept {
  const FileSizeSignalGuard guard;
  while (!bytes.empty()) {
    const std::size_t ask = std::min(bytes.size(), std::size_t{1} << 30);
    const ssize_t n = ::pwrite(fd, bytes.data(), ask, static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    if (n == 0) return ENOSPC;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += n;
  }
  return 0;
}

fs::path directory_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

// A name that no other writer has: hidden, in the same directory, and short enough whatever the final one's length.
fs::path temporary_name(const fs::path& path) {
  static std::atomic<uint32_t> counter{0};
  const std::string name = path.filename().string().substr(0, 200);
  return directory_of(path) / fmt::format(".{}.{}.{}.tmp", name, ::getpid(), counter.fetch_add(1));
}

// The files alive, so that the pages of their mappings can be given back and they can be told from others.
struct Mapping {
  std::size_t size = 0;
  dev_t device = 0;
  ino_t inode = 0;
  bool read = false;  // into a Buffer: no mapping, and its pages cannot be read again
};
struct Mappings {
  std::mutex mutex;
  std::map<std::byte*, Mapping> all;
};
Mappings& mappings() {
  static Mappings* const instance = new Mappings;  // never destroyed: files may outlive static objects
  return *instance;
}

thread_local bool read_whole = false;

Status became_shorter(const fs::path& path, std::size_t got, std::size_t expected) {
  return {Code::io, fmt::format("'{}' became shorter while it was read: {} of {} bytes", path.string(), got, expected)};
}

Status read_all(const OpenedFile& file, const fs::path& path, char* out, std::size_t size) {
  std::size_t got = 0;
  while (got < size) {
    const ssize_t n = ::read(file.fd.get(), out + got, std::min(size - got, std::size_t{1} << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error(errno, "read", path);
    if (n == 0) return became_shorter(path, got, size);
    got += static_cast<std::size_t>(n);
  }
  return {};
}

}  // namespace

FileReadingScope::FileReadingScope(bool whole) noexcept : before_(std::exchange(read_whole, whole)) {}
FileReadingScope::~FileReadingScope() { read_whole = before_; }

void MappedFile::release_pages() noexcept {
  const std::lock_guard<std::mutex> lock(mappings().mutex);
  for (const auto& [data, mapping] : mappings().all)
    if (!mapping.read) (void)::madvise(data, mapping.size, MADV_DONTNEED);
}

bool MappedFile::maps(const fs::path& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return false;
  const std::lock_guard<std::mutex> lock(mappings().mutex);
  const auto same = [&](const auto& entry) { return entry.second.device == st.st_dev && entry.second.inode == st.st_ino; };
  return std::any_of(mappings().all.begin(), mappings().all.end(), same);
}

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const fs::path& path) {
  if (const auto memory = MemoryFiles::at(path)) {
    const MemoryFiles::File* file = memory->find(path.filename().native());
    if (file == nullptr) return system_error(ENOENT, "open", path);
    auto view = std::unique_ptr<MappedFile>(new MappedFile);
    view->path_ = path;
    view->size_ = static_cast<std::size_t>(file->size());
    std::shared_ptr<Buffer> whole;
    if (file->read) {
      NBL_ASSIGN(Buffer bytes, Buffer::create(view->size_));
      NBL_TRY(file->read(0, {bytes.data(), view->size_}));
      whole = std::make_shared<Buffer>(std::move(bytes));
    }
    view->data_ = whole ? whole->data() : file->bytes.data();
    return std::shared_ptr<const MappedFile>(view.release(), [memory, whole](const MappedFile* p) { delete p; });
  }
  NBL_ASSIGN(OpenedFile file, open_regular(path));
  std::shared_ptr<MappedFile> mapped(new MappedFile);
  mapped->path_ = path;
  if (file.size == 0) return std::shared_ptr<const MappedFile>(std::move(mapped));
  const auto size = static_cast<std::size_t>(file.size);
  if (read_whole) {
    if (const int64_t memory = physical_memory_bytes(); memory > 0 && file.size > memory) {
      return Status(Code::limit, fmt::format("'{}' has {} bytes, more than this machine's memory of {}: it can be mapped, not read whole",
                                             path.string(), file.size, memory));
    }
    NBL_ASSIGN(Buffer bytes, Buffer::create(size));
    NBL_TRY(read_all(file, path, reinterpret_cast<char*>(bytes.data()), size));
    const auto held = std::make_shared<const Buffer>(std::move(bytes));
    auto* const data = const_cast<std::byte*>(held->data());  // a key; nobody writes through it
    auto view = std::unique_ptr<MappedFile>(new MappedFile);
    view->path_ = path;
    view->size_ = size;
    {
      const std::lock_guard<std::mutex> lock(mappings().mutex);
      mappings().all.emplace(data, Mapping{size, file.device, file.inode, true});
      view->data_ = data;
    }
    return std::shared_ptr<const MappedFile>(view.release(), [held](const MappedFile* p) { delete p; });
  }
  void* p = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd.get(), 0);
  if (p == MAP_FAILED) return system_error(errno, "map", path);
  mapped->data_ = static_cast<const std::byte*>(p);
  mapped->size_ = size;
#ifdef MADV_HUGEPAGE
  (void)::madvise(p, size, MADV_HUGEPAGE);  // a wish: pages that are not in memory yet are read a large one at a time
#endif
  const std::lock_guard<std::mutex> lock(mappings().mutex);
  mappings().all.emplace(static_cast<std::byte*>(p), Mapping{size, file.device, file.inode, false});
  return std::shared_ptr<const MappedFile>(std::move(mapped));
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  const std::lock_guard<std::mutex> lock(mappings().mutex);
  const auto it = mappings().all.find(const_cast<std::byte*>(data_));
  if (it == mappings().all.end()) return;  // in the memory of MemoryFiles
  if (!it->second.read) ::munmap(it->first, size_);
  mappings().all.erase(it);
}

std::vector<std::string> directory_names(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  if (const auto memory = MemoryFiles::at(directory)) {
    for (const MemoryFiles::File& file : memory->files()) names.push_back(file.name);
    std::sort(names.begin(), names.end());
    return names;
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> opened(::opendir(directory.c_str()), ::closedir);
  if (!opened) return names;
  while (const dirent* entry = ::readdir(opened.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::string> read_text_file(const fs::path& path, int64_t max_bytes) {
  const auto too_large = [&](int64_t size) {
    return Status(Code::limit, fmt::format("'{}' has {} bytes, more than the {} that are read of such a file",
                                           path.string(), size, max_bytes));
  };
  if (const auto memory = MemoryFiles::at(path)) {
    const MemoryFiles::File* file = memory->find(path.filename().native());
    if (file == nullptr) return system_error(ENOENT, "open", path);
    if (file->size() > max_bytes) return too_large(file->size());
    if (!file->read) return std::string(reinterpret_cast<const char*>(file->bytes.data()), file->bytes.size());
    std::string text(static_cast<std::size_t>(file->size()), '\0');
    NBL_TRY(file->read(0, std::as_writable_bytes(std::span(text.data(), text.size()))));
    return text;
  }
  NBL_ASSIGN(OpenedFile file, open_regular(path));
  if (file.size > max_bytes) return too_large(file.size);
  std::string text(static_cast<std::size_t>(file.size), '\0');
  NBL_TRY(read_all(file, path, text.data(), text.size()));
  return text;
}

struct AtomicFile::State {
  fs::path path;
  fs::path temporary;
  Descriptor fd;
  std::vector<std::byte> held;  // written but not yet handed to the system
  int64_t flushed = 0;
  Status failure;  // the first one; everything after it repeats it
  bool committed = false;

  ~State() {
    fd.reset();
    if (!committed && !temporary.empty()) ::unlink(temporary.c_str());
  }

  Status fail(int error, std::string_view verb) {
    failure = system_error(error, verb, path);
    return failure;
  }

  Status flush() {
    NBL_TRY(failure);
    if (const int error = write_all(fd.get(), held, flushed)) return fail(error, "write");
    flushed += static_cast<int64_t>(held.size());
    held.clear();
    return {};
  }
};

AtomicFile::AtomicFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
AtomicFile::~AtomicFile() = default;
AtomicFile::AtomicFile(AtomicFile&&) noexcept = default;
AtomicFile& AtomicFile::operator=(AtomicFile&&) noexcept = default;

Result<AtomicFile> AtomicFile::create(const fs::path& path) {
  auto state = std::make_unique<State>();
  // A symbolic link keeps pointing at what is replaced; a device or a directory is not replaced at all.
  std::error_code ignored;
  const fs::path real = fs::is_symlink(path, ignored) ? fs::weakly_canonical(path, ignored) : path;
  state->path = real.empty() ? path : real;
  if (!state->path.has_filename()) {
    return Status(Code::invalid_argument, fmt::format("'{}' names no file to write", path.string()));
  }
  remove_stale_temporaries(state->path);
  mode_t mode = 0666;
  struct stat st;
  const bool exists = ::stat(state->path.c_str(), &st) == 0;
  if (exists && !S_ISREG(st.st_mode)) {
    return Status(Code::invalid_argument,
                  fmt::format("'{}' exists and is {}, so no file can be written there", path.string(),
                              S_ISDIR(st.st_mode) ? "a directory" : "not a regular file"));
  }
  for (int attempt = 0; attempt < 100; ++attempt) {
    fs::path temporary = temporary_name(state->path);
    state->fd = Descriptor(open_retrying(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL, mode));
    if (state->fd.get() >= 0) {
      (void)::flock(state->fd.get(), LOCK_EX | LOCK_NB);  // tells remove_stale_temporaries() that the writer lives
      state->temporary = std::move(temporary);
      break;
    }
    if (errno != EEXIST) return system_error(errno, "create", path);
  }
  if (state->fd.get() < 0) return system_error(EEXIST, "create", path);
  if (exists) (void)::fchmod(state->fd.get(), st.st_mode & 0777);
  return AtomicFile(std::move(state));
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  State& s = *state_;
  NBL_TRY(s.failure);
  while (!bytes.empty()) {
    const auto room = static_cast<std::size_t>(kPiece - (s.flushed + static_cast<int64_t>(s.held.size())) % kPiece);
    if (room == kPiece && bytes.size() >= room) {
      const auto whole = bytes.first(bytes.size() / room * room);
      if (const int error = write_all(s.fd.get(), whole, s.flushed)) return s.fail(error, "write");
      s.flushed += static_cast<int64_t>(whole.size());
      bytes = bytes.subspan(whole.size());
      continue;
    }
    const auto part = bytes.first(std::min(room, bytes.size()));
    s.held.insert(s.held.end(), part.begin(), part.end());
    bytes = bytes.subspan(part.size());
    if (part.size() == room) NBL_TRY(s.flush());
  }
  return {};
}

Status AtomicFile::write_at(int64_t offset, std::span<const std::byte> bytes) {
  State& s = *state_;
  NBL_TRY(s.flush());
  if (offset < 0 || offset > s.flushed || static_cast<int64_t>(bytes.size()) > s.flushed - offset) {
    return {Code::internal, fmt::format("'{}': {} bytes at {} lie outside of the {} written so far", s.path.string(),
                                        bytes.size(), offset, s.flushed)};
  }
  if (const int error = write_all(s.fd.get(), bytes, offset)) return s.fail(error, "write");
  return {};
}

int64_t AtomicFile::position() const noexcept { return state_->flushed + static_cast<int64_t>(state_->held.size()); }

Status AtomicFile::commit() {
  State& s = *state_;
  NBL_TRY(s.flush());
  if (retrying([&] { return ::fsync(s.fd.get()); }) != 0) return s.fail(errno, "sync");
  if (const int error = s.fd.close()) return s.fail(error, "close");
  if (::rename(s.temporary.c_str(), s.path.c_str()) != 0) return s.fail(errno, "rename to");
  s.committed = true;
  // The new name is durable only when the directory is. Some file systems cannot sync one: that is no failure.
  const Descriptor directory(open_retrying(directory_of(s.path).c_str(), O_RDONLY | O_DIRECTORY));
  if (directory.get() >= 0 && retrying([&] { return ::fsync(directory.get()); }) != 0 && errno == EIO)
    return s.fail(EIO, "sync the directory of");
  return {};
}

Status write_text_file(const fs::path& path, std::string_view text) {
  NBL_ASSIGN(AtomicFile file, AtomicFile::create(path));
  NBL_TRY(file.write(text));
  return file.commit();
}

}  // namespace nbl
