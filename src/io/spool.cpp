#include "io/spool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <system_error>

#include "base/hash.h"
#include "base/parallel.h"
#include "base/retrying.h"

namespace nbl::io {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = std::size_t{1} << 20;

Status system_error(int error, std::string_view verb, const fs::path& directory) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return Status(full ? Code::limit : Code::io, fmt::format("cannot {} a temporary file in '{}': {}", verb,
                                                           directory.string(), std::generic_category().message(error)));
}

int open_unnamed(const fs::path& directory) {
  const int fd = open_retrying(directory.c_str(), O_TMPFILE | O_RDWR, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd;
  std::string name = (directory / ".nibble-XXXXXX").string();
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

// A write beyond the process's file-size limit must be an error, not a signal that kills.
class FileSizeSignalBlocked {
 public:
  FileSizeSignalBlocked() noexcept {
    sigemptyset(&set_);
    sigaddset(&set_, SIGXFSZ);
    ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~FileSizeSignalBlocked() {
    if (sigismember(&before_, SIGXFSZ) == 0) {
      const timespec now{0, 0};
      while (::sigtimedwait(&set_, nullptr, &now) == -1 && errno == EINTR) {
      }
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  FileSizeSignalBlocked(const FileSizeSignalBlocked&) = delete;
  FileSizeSignalBlocked& operator=(const FileSizeSignalBlocked&) = delete;

 private:
  sigset_t set_{}, before_{};
};

/// Pieces between a thread that fills them and one that takes them, both in order.
class PieceRing {
 public:
  PieceRing() : memory_(kPieces * kPiece) {}

  /// Waits for a piece that is not being taken.
  std::span<std::byte> free_piece() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return filled_ - taken_ < kPieces; });
    return std::span(memory_).subspan(filled_ % kPieces * kPiece, kPiece);
  }
  /// `bytes` of it are ready.
  void fill(std::size_t bytes) noexcept {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      sizes_[filled_++ % kPieces] = bytes;
    }
    changed_.notify_one();
  }
  /// Nothing more is filled.
  void close() noexcept {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
    }
    changed_.notify_one();
  }
  /// Waits for the next piece; empty: there is none. It is taken when the next one is asked for.
  std::span<const std::byte> next_piece() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (holds_) ++taken_;
    changed_.notify_one();
    changed_.wait(lock, [&] { return taken_ < filled_ || closed_; });
    holds_ = taken_ < filled_;
    if (!holds_) return {};
    const std::size_t at = taken_ % kPieces;
    return std::span<const std::byte>(memory_).subspan(at * kPiece, sizes_[at]);
  }

 private:
  static constexpr std::size_t kPieces = 4;
  std::vector<std::byte> memory_;
  std::size_t sizes_[kPieces] = {}, filled_ = 0, taken_ = 0;
  bool holds_ = false, closed_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
};

/// Hashes the whole file and, where that is wanted, each tensor on its way into it.
class TensorHashes {
 public:
  TensorHashes(const std::vector<TensorSpool::Entry>& entries, std::span<const std::size_t> order, bool each, Sha256& whole)
      : whole_(whole) {
    if (!each) return;
    for (const std::size_t i : order) tensors_.push_back({i, entries[i].planned.bytes, {}});
  }

  /// A piece of no more than one tensor, the next one that is not told to its end.
  void take(std::span<const std::byte> piece) noexcept {
    if (tensors_.empty()) return whole_.update(piece);
    while (tensors_[at_].left == 0) ++at_;
    Tensor& tensor = tensors_[at_];
    update_both(whole_, tensor.hash, piece);
    tensor.left -= static_cast<int64_t>(piece.size());
  }
  void store(std::vector<TensorSpool::Entry>* entries) {
    for (Tensor& tensor : tensors_) (*entries)[tensor.entry].sha256 = tensor.hash.finish_hex();
  }

 private:
  struct Tensor {
    std::size_t entry = 0;
    int64_t left = 0;
    Sha256 hash;
  };
  Sha256& whole_;
  std::vector<Tensor> tensors_;
  std::size_t at_ = 0;
};

}  // namespace

struct TensorSpool::State {
  ~State() {
    if (fd >= 0) ::close(fd);
  }
  Status append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(fd, bytes.data(), std::min(bytes.size(), std::size_t{1} << 30), end);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return system_error(n == 0 ? ENOSPC : errno, "write", directory);
      end += n;
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
  }
  Status read(int64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
      const ssize_t n = ::pread(fd, out.data(), out.size(), offset);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return system_error(n == 0 ? EIO : errno, "read", directory);
      offset += n;
      out = out.subspan(static_cast<std::size_t>(n));
    }
    return {};
  }

  template <class Sink>
  Status pass(const Entry& entry, std::span<std::byte> piece, const Sink& sink) const {
    for (int64_t done = 0; done < entry.planned.bytes;) {
      const auto take = std::min(static_cast<int64_t>(piece.size()), entry.planned.bytes - done);
      const auto bytes = piece.first(static_cast<std::size_t>(take));
      NBL_TRY(read(entry.offset + done, bytes));
      NBL_TRY(sink(bytes));
      done += take;
    }
    return {};
  }
  /// Only to save space: where it is not possible, the file is larger for a while.
  void give_back(const Entry& entry) const {
    (void)::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, entry.offset, entry.planned.bytes);
  }

  fs::path directory;
  int fd = -1, threads = 1;
  int64_t end = 0;
  std::vector<Entry> entries;
};

TensorSpool::TensorSpool(std::unique_ptr<State> state) : state_(std::move(state)) {}
TensorSpool::TensorSpool(TensorSpool&&) noexcept = default;
TensorSpool& TensorSpool::operator=(TensorSpool&&) noexcept = default;
TensorSpool::~TensorSpool() = default;
const std::vector<TensorSpool::Entry>& TensorSpool::entries() const noexcept { return state_->entries; }
void TensorSpool::set_threads(int threads) noexcept { state_->threads = threads; }

Result<TensorSpool> TensorSpool::create(const fs::path& directory) {
  auto state = std::make_unique<State>();
  state->directory = directory.empty() ? fs::path(".") : directory;
  state->fd = open_unnamed(state->directory);
  if (state->fd < 0) {
    const int error = errno;
    const Status status = system_error(error, "create", state->directory);
    return error == ENOENT || error == ENOTDIR ? Status(Code::not_found, status.message()) : status;
  }
  return TensorSpool(std::move(state));
}

Status TensorSpool::add(std::string name, std::string type, Shape shape, std::span<const std::byte> bytes,
                        int64_t pad) {
  State& s = *state_;
  static constexpr std::byte kZeros[64] = {};
  const std::size_t padding =
      (static_cast<std::size_t>(pad) - bytes.size() % static_cast<std::size_t>(pad)) % static_cast<std::size_t>(pad);
  if (padding > sizeof(kZeros)) return Status(Code::internal, "spool: padding beyond a line");
  const auto total = static_cast<int64_t>(bytes.size() + padding);
  if (pad > 1) shape = {total};
  Entry entry{{std::move(name), std::move(type), std::move(shape), total}, s.end, {}};
  const FileSizeSignalBlocked guard;
  NBL_TRY(s.append(bytes));
  NBL_TRY(s.append({kZeros, padding}));
  s.entries.push_back(std::move(entry));
  return {};
}

Status TensorSpool::drain(std::size_t index, const std::function<Status(std::span<const std::byte>)>& sink) {
  std::vector<std::byte> piece(std::min(kPiece, static_cast<std::size_t>(state_->entries[index].planned.bytes)));
  NBL_TRY(state_->pass(state_->entries[index], piece, sink));
  state_->give_back(state_->entries[index]);
  return {};
}

Result<std::string> TensorSpool::write_file(const fs::path& file, std::span<const std::size_t> order,
                                            const std::map<std::string, std::string>& metadata, bool aligned, const Last* last) {
  State& s = *state_;
  std::vector<SafetensorsWriter::Planned> plan;
  for (const std::size_t i : order) plan.push_back(s.entries[i].planned);
  if (last != nullptr) plan.push_back(last->planned);
  Sha256 hash;
  {
    NBL_ASSIGN(const std::string header, safetensors_header(plan, metadata, aligned));
    hash.update(std::as_bytes(std::span(header.data(), header.size())));
  }
  NBL_ASSIGN(SafetensorsWriter writer, SafetensorsWriter::create(file, std::move(plan), metadata, aligned));
  TensorHashes hashes{s.entries, order, last != nullptr, hash};
  const auto alone = [&]() -> Status {
    for (const std::size_t i : order) {
      NBL_TRY(drain(i, [&](std::span<const std::byte> bytes) {
        hashes.take(bytes);
        return writer.write(bytes);
      }));
    }
    return {};
  };
  // With two threads one copies and the other one hashes, some pieces behind: each about half of the work.
  const auto copy = [&](PieceRing& ring) -> Status {
    for (const std::size_t i : order) {
      const Entry& entry = s.entries[i];
      for (int64_t done = 0; done < entry.planned.bytes;) {
        const auto take = std::min(static_cast<int64_t>(kPiece), entry.planned.bytes - done);
        const std::span<std::byte> piece = ring.free_piece().first(static_cast<std::size_t>(take));
        NBL_TRY(s.read(entry.offset + done, piece));
        ring.fill(piece.size());  // still read below, which the other thread may do as well
        NBL_TRY(writer.write(piece));
        done += take;
      }
      s.give_back(entry);
    }
    return {};
  };
  if (s.threads < 2) {
    NBL_TRY(alone());
  } else {
    PieceRing ring;
    Status copied;
    Team(2).run([&](Worker& worker) {
      if (worker.count() == 2 && worker.index() == 1) {
        for (auto piece = ring.next_piece(); !piece.empty(); piece = ring.next_piece()) hashes.take(piece);
        return;
      }
      try {
        copied = worker.count() < 2 ? alone() : copy(ring);  // alone: no second thread could be made
      } catch (const std::bad_alloc&) {
        copied = {Code::out_of_memory, "memory is exhausted"};
      }
      ring.close();
    });
    NBL_TRY(copied);
  }
  if (last != nullptr) {
    hashes.store(&s.entries);
    const std::string text = last->make();
    const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
    hash.update(bytes);
    NBL_TRY(writer.write(bytes));
  }
  NBL_TRY(writer.commit());
  return hash.finish_hex();
}

bool natural_less(std::string_view a, std::string_view b) noexcept {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  std::size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (!digit(a[i]) || !digit(b[j])) {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i, ++j;
      continue;
    }
    std::size_t ai = i, bj = j;
    while (ai < a.size() && digit(a[ai])) ++ai;
    while (bj < b.size() && digit(b[bj])) ++bj;
    std::size_t az = i, bz = j;  // leading zeros do not count
    while (az + 1 < ai && a[az] == '0') ++az;
    while (bz + 1 < bj && b[bz] == '0') ++bz;
    if (ai - az != bj - bz) return ai - az < bj - bz;
    const int order = a.substr(az, ai - az).compare(b.substr(bz, bj - bz));
    if (order != 0) return order < 0;
    i = ai, j = bj;
  }
  if (a.size() - i != b.size() - j) return a.size() - i < b.size() - j;
  return a < b;  // equal but for leading zeros
}

}  // namespace nbl::io
