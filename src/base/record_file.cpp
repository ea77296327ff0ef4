// Durable records and scratch space: RecordFile, ScratchFile and the removal of stale temporaries (file.h).
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

#include "base/bounds.h"
#include "base/file.h"
#include "base/retrying.h"

namespace nbl {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[8] = {'N', 'B', 'L', 'R', 'E', 'C', '0', '1'};
constexpr BoundOf<uint64_t> kMaxRecord{Bound::record_bytes};

struct Header {
  uint64_t size = 0, check = 0;
};

Status failed(int error, std::string_view verb, const fs::path& path) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  const Code code = full ? Code::limit : error == ENOENT ? Code::not_found : Code::io;
  return {code, fmt::format("cannot {} '{}': {}", verb, path.string(), std::generic_category().message(error))};
}

/// Detects torn and damaged records; no defence against forgery.
uint64_t checksum(std::string_view bytes) noexcept {
  uint64_t h = 0x9e3779b97f4a7c15u ^ bytes.size();
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    h = (h ^ word) * 0xff51afd7ed558ccdu;
    h ^= h >> 32;
  }
  for (; i < bytes.size(); ++i) h = (h ^ static_cast<uint8_t>(bytes[i])) * 0xc4ceb9fe1a85ec53u, h ^= h >> 29;
  return h;
}

/// A write past the process's file-size limit is to be an error, not a signal that kills.
class SizeSignalBlocked {
 public:
  SizeSignalBlocked() noexcept {
    sigemptyset(&set_);
    sigaddset(&set_, SIGXFSZ);
    ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~SizeSignalBlocked() {
    const int error = errno;
    if (sigismember(&before_, SIGXFSZ) == 0) {
      const timespec now{0, 0};
      while (::sigtimedwait(&set_, nullptr, &now) == -1 && errno == EINTR) {
      }
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }
  SizeSignalBlocked(const SizeSignalBlocked&) = delete;
  SizeSignalBlocked& operator=(const SizeSignalBlocked&) = delete;

 private:
  sigset_t set_{}, before_{};
};

int write_at(int fd, const void* data, std::size_t size, int64_t offset) noexcept {
  const SizeSignalBlocked blocked;
  const char* p = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::pwrite(fd, p, std::min(size, std::size_t{1} << 30), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n == 0 ? ENOSPC : errno;
    p += n;
    offset += n;
    size -= static_cast<std::size_t>(n);
  }
  return 0;
}

/// Bytes read: fewer than asked for at the end of the file; -1 with errno.
int64_t read_at(int fd, void* data, std::size_t size, int64_t offset) noexcept {
  int64_t got = 0;
  while (static_cast<std::size_t>(got) < size) {
    const ssize_t n = ::pread(fd, static_cast<char*>(data) + got, std::min(size - static_cast<std::size_t>(got), std::size_t{1} << 30),
                              static_cast<off_t>(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    got += n;
  }
  return got;
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

/// Two writers of one file would destroy each other's records. 0, or the errno: EWOULDBLOCK when another process has it.
/// File systems without locks are taken as they are.
int lock_file(int fd) noexcept {
  int result;
  do {
    result = ::flock(fd, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  return result != 0 && errno == EWOULDBLOCK ? EWOULDBLOCK : 0;
}

Status in_use(const fs::path& path) {
  return {Code::busy, fmt::format("'{}' is being written by another process: wait for it to end, or choose another output", path.string())};
}

/// The name is durable only when the directory is; some file systems cannot sync one.
int sync_directory_of(const fs::path& path) {
  const int fd = open_retrying(parent_of(path).c_str(), O_RDONLY | O_DIRECTORY);
  if (fd < 0) return 0;
  const int error = retrying([&] { return ::fsync(fd); }) != 0 && errno == EIO ? EIO : 0;
  ::close(fd);
  return error;
}

}  // namespace

struct RecordFile::State {
  fs::path path;
  int fd = -1;
  int64_t at = 0;
  bool reading = false;
  ~State() {
    if (fd >= 0) ::close(fd);
  }
};

RecordFile::RecordFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
RecordFile::~RecordFile() = default;
RecordFile::RecordFile(RecordFile&&) noexcept = default;
RecordFile& RecordFile::operator=(RecordFile&&) noexcept = default;

Result<RecordFile> RecordFile::create(const fs::path& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  state->fd = open_retrying(path.c_str(), O_RDWR | O_CREAT, 0666);
  if (state->fd < 0) return failed(errno, "create", path);
  if (lock_file(state->fd) != 0) return in_use(path);
  int error = retrying([&] { return ::ftruncate(state->fd, 0); }) != 0 ? errno : write_at(state->fd, kMagic, sizeof(kMagic), 0);
  if (error == 0) error = sync_directory_of(path);
  if (error != 0) {
    ::unlink(path.c_str());
    return failed(error, "write", path);
  }
  state->at = sizeof(kMagic);
  return RecordFile(std::move(state));
}

Result<RecordFile> RecordFile::open(const fs::path& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  state->fd = open_retrying(path.c_str(), O_RDWR | O_NONBLOCK);
  if (state->fd < 0) return failed(errno, "open", path);
  if (lock_file(state->fd) != 0) return in_use(path);
  char magic[sizeof(kMagic)] = {};
  const int64_t got = read_at(state->fd, magic, sizeof(magic), 0);
  if (got < 0) return failed(errno, "read", path);
  // Killed before it was begun; after a power failure, a file may have its length without its content.
  const bool blank = std::all_of(std::begin(magic), std::end(magic), [](char c) { return c == 0; });
  if (static_cast<std::size_t>(got) < sizeof(kMagic) || blank) {
    state.reset();  // gives the lock back
    return create(path);
  }
  if (std::memcmp(magic, kMagic, sizeof(kMagic)) != 0)
    return Status(Code::corrupt, fmt::format("'{}' is no file of records", path.string()));
  state->at = sizeof(kMagic);
  state->reading = true;
  return RecordFile(std::move(state));
}

Result<bool> RecordFile::next(std::string* record) {
  State& s = *state_;
  if (!s.reading) return false;
  Header header;
  const int64_t got = read_at(s.fd, &header, sizeof(header), s.at);
  if (got < 0) return failed(errno, "read", s.path);
  struct stat st;
  if (::fstat(s.fd, &st) != 0) return failed(errno, "examine", s.path);
  const int64_t left = st.st_size - s.at - static_cast<int64_t>(sizeof(header));
  bool whole = got == static_cast<int64_t>(sizeof(header)) && header.size <= kMaxRecord && left >= 0 &&
               header.size <= static_cast<uint64_t>(left);
  if (whole) {
    try {
      record->resize(static_cast<std::size_t>(header.size));
    } catch (const std::bad_alloc&) {
      return Status(Code::out_of_memory, fmt::format("no memory for a record of '{}'", s.path.string()));
    }
    const int64_t read = read_at(s.fd, record->data(), record->size(), s.at + static_cast<int64_t>(sizeof(header)));
    if (read < 0) return failed(errno, "read", s.path);
    whole = static_cast<uint64_t>(read) == header.size && checksum(*record) == header.check;
  }
  if (!whole) {
    record->clear();
    s.reading = false;
    if (retrying([&] { return ::ftruncate(s.fd, s.at); }) != 0) return failed(errno, "shorten", s.path);
    return false;
  }
  s.at += static_cast<int64_t>(sizeof(header) + header.size);
  return true;
}

Status RecordFile::append(std::string_view record) {
  State& s = *state_;
  s.reading = false;
  const Header header{record.size(), checksum(record)};
  int error = write_at(s.fd, &header, sizeof(header), s.at);
  if (error == 0) error = write_at(s.fd, record.data(), record.size(), s.at + static_cast<int64_t>(sizeof(header)));
  if (error == 0 && retrying([&] { return ::fdatasync(s.fd); }) != 0) error = errno;
  if (error != 0) {
    // What was written of it is no whole record: the next reader cuts it off, should this fail.
    (void)retrying([&] { return ::ftruncate(s.fd, s.at); });
    return failed(error, "write", s.path);
  }
  s.at += static_cast<int64_t>(sizeof(header) + record.size());
  return {};
}

Status RecordFile::remove() {
  if (::unlink(state_->path.c_str()) != 0 && errno != ENOENT) return failed(errno, "delete", state_->path);
  return {};
}

struct ScratchFile::State {
  fs::path directory;
  int fd = -1;
  ~State() {
    if (fd >= 0) ::close(fd);
  }
};

ScratchFile::ScratchFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
ScratchFile::~ScratchFile() = default;
ScratchFile::ScratchFile(ScratchFile&&) noexcept = default;
ScratchFile& ScratchFile::operator=(ScratchFile&&) noexcept = default;

Result<ScratchFile> ScratchFile::create(const fs::path& directory) {
  auto state = std::make_unique<State>();
  state->directory = directory.empty() ? fs::path(".") : directory;
  state->fd = open_retrying(state->directory.c_str(), O_TMPFILE | O_RDWR, 0600);
  if (state->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    std::string name = (state->directory / ".nibble-XXXXXX").string();
    state->fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (state->fd >= 0) ::unlink(name.c_str());
  }
  if (state->fd < 0) return failed(errno, "create a temporary file in", state->directory);
  return ScratchFile(std::move(state));
}

Status ScratchFile::write(int64_t offset, std::span<const std::byte> bytes) {
  const int error = write_at(state_->fd, bytes.data(), bytes.size(), offset);
  return error == 0 ? Status() : failed(error, "write a temporary file in", state_->directory);
}

Status ScratchFile::read(int64_t offset, std::span<std::byte> bytes) const {
  const int64_t got = read_at(state_->fd, bytes.data(), bytes.size(), offset);
  if (got < 0) return failed(errno, "read a temporary file in", state_->directory);
  if (static_cast<std::size_t>(got) != bytes.size())
    return {Code::io, fmt::format("a temporary file in '{}' is shorter than what was written", state_->directory.string())};
  return {};
}

void remove_stale_temporaries(const fs::path& path) noexcept {
  try {
    const std::string prefix = "." + path.filename().string().substr(0, 200) + ".", suffix = ".tmp";
    for (const std::string& name : directory_names(parent_of(path))) {
      if (!name.starts_with(prefix) || !name.ends_with(suffix) || name.size() < prefix.size() + suffix.size()) continue;
      // Between them: the writer's process and a counter.
      const std::string middle = name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
      int process = 0;
      uint32_t count = 0;
      const char* end = middle.data() + middle.size();
      const auto first = std::from_chars(middle.data(), end, process);
      if (first.ec != std::errc() || first.ptr == end || *first.ptr != '.' || process <= 0) continue;
      const auto second = std::from_chars(first.ptr + 1, end, count);
      if (second.ec != std::errc() || second.ptr != end) continue;
      if (::kill(process, 0) == 0 || errno != ESRCH) continue;  // still being written
      // Its number says nothing when the writer lives in another container: it holds a lock as long as it lives.
      const fs::path stale = parent_of(path) / name;
      const int fd = open_retrying(stale.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
      if (fd < 0) continue;
      const bool left = lock_file(fd) == 0;
      std::error_code ec;
      if (left) fs::remove_all(stale, ec);
      ::close(fd);
    }
  } catch (...) {  // tidying up is not worth an error
  }
}

}  // namespace nbl
