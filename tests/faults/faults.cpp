#include "faults/faults.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <time.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <new>

// What stands behind the functions that are replaced below: glibc's own, or the address sanitizer's.
#ifdef NBL_ADDRESS_SANITIZER
#define NBL_BEHIND(function) __interceptor_##function
#else
#define NBL_BEHIND(function) __libc_##function
#endif
extern "C" {
void* NBL_BEHIND(malloc)(size_t);
void* NBL_BEHIND(calloc)(size_t, size_t);
void* NBL_BEHIND(realloc)(void*, size_t);
void* NBL_BEHIND(memalign)(size_t, size_t);
void NBL_BEHIND(free)(void*);
}

namespace nbl::faults {
namespace {

struct Plan {
  bool armed = false;
  Kind kind = Kind::allocate;
  int64_t at = -1;
  int64_t calls = 0;
  int error = 0;
  bool short_io = false;
  bool struck = false;
};
thread_local Plan plan;
std::atomic<int64_t> allocations_left{-1};  ///< of all threads, to the one that fails; below 0: none does
std::atomic<int64_t> allocations_seen{0};
std::atomic<int64_t> live{0}, bytes{0}, most_bytes{0};
std::atomic<bool> clocks_jump{false};

#ifdef NBL_ADDRESS_SANITIZER
// What is allocated before the sanitizer works is never given back.
constexpr size_t kEarlyBytes = size_t{4} << 20;
alignas(64) char early[kEarlyBytes];
size_t early_used = 0;
bool works = false;
__attribute__((constructor)) void sanitizer_works() { works = true; }
bool is_early(const void* p) { return p >= early && p < early + kEarlyBytes; }
void* early_block(size_t size) {
  const size_t at = early_used;
  early_used += (size + 63) / 64 * 64;
  return early_used <= kEarlyBytes ? early + at : nullptr;
}
#else
constexpr bool works = true;
bool is_early(const void*) { return false; }
void* early_block(size_t) { return nullptr; }
#endif

void gained(void* p) {
  if (p == nullptr || is_early(p)) return;
  live.fetch_add(1, std::memory_order_relaxed);
  const auto size = static_cast<int64_t>(malloc_usable_size(p));
  const int64_t now = bytes.fetch_add(size, std::memory_order_relaxed) + size;
  int64_t most = most_bytes.load(std::memory_order_relaxed);
  while (now > most && !most_bytes.compare_exchange_weak(most, now, std::memory_order_relaxed)) {
  }
}
void lost(void* p) {
  if (p == nullptr || is_early(p)) return;
  live.fetch_sub(1, std::memory_order_relaxed);
  bytes.fetch_sub(static_cast<int64_t>(malloc_usable_size(p)), std::memory_order_relaxed);
}

bool strikes(Kind kind) {
  if (kind == Kind::allocate && allocations_left.load(std::memory_order_relaxed) >= 0) {
    allocations_seen.fetch_add(1, std::memory_order_relaxed);
    if (allocations_left.fetch_sub(1, std::memory_order_relaxed) == 0) return true;
  }
  if (!plan.armed || plan.kind != kind) return false;
  if (plan.calls++ != plan.at) return false;
  plan.struck = true;
  return true;
}

template <class F>
F next(const char* symbol) {
  const bool armed = plan.armed;
  plan.armed = false;
  void* found = dlsym(RTLD_NEXT, symbol);
  plan.armed = armed;
  return reinterpret_cast<F>(found);
}

/// 1: fail; 2: move less; 0: nothing.
int io_fault(Kind kind) {
  if (!strikes(kind)) return 0;
  if (plan.short_io) return 2;
  errno = plan.error;
  return 1;
}

}  // namespace

const char* name(Kind kind) {
  static const char* const kNames[] = {"allocation", "open", "read", "write", "sync", "rename", "mapping", "thread", "truncation", "removal"};
  return kNames[static_cast<int>(kind)];
}

void arm(Kind kind, int64_t n, int error, bool short_io) {
  plan = {true, kind, n, 0, error, short_io, false};
}

int64_t disarm() {
  plan.armed = false;
  return plan.calls;
}

void arm_allocations(int64_t n) {
  allocations_seen = 0;
  allocations_left = n;
}
int64_t disarm_allocations() {
  allocations_left = -1;
  return allocations_seen;
}

bool thread_fault() {
  if (!plan.armed || plan.kind != Kind::thread || plan.calls++ < plan.at || plan.at < 0) return false;
  plan.struck = true;
  return true;
}
bool struck() { return plan.struck; }
void let_clocks_jump(bool on) { clocks_jump = on; }
int64_t live_bytes() { return bytes.load(std::memory_order_relaxed); }
int64_t peak_bytes() { return most_bytes.load(std::memory_order_relaxed); }
void forget_peak() { most_bytes = bytes.load(); }
int64_t live_blocks() { return live.load(std::memory_order_relaxed); }

}  // namespace nbl::faults

using nbl::faults::Kind;

extern "C" {

void* malloc(size_t size) {
  if (!nbl::faults::works) return nbl::faults::early_block(size);
  if (nbl::faults::strikes(Kind::allocate)) {
    errno = ENOMEM;
    return nullptr;
  }
  void* p = NBL_BEHIND(malloc)(size);
  nbl::faults::gained(p);
  return p;
}

void* calloc(size_t n, size_t size) {
  if (!nbl::faults::works) return nbl::faults::early_block(n * size);  // zeros still
  if (nbl::faults::strikes(Kind::allocate)) {
    errno = ENOMEM;
    return nullptr;
  }
  void* p = NBL_BEHIND(calloc)(n, size);
  nbl::faults::gained(p);
  return p;
}

void* realloc(void* old, size_t size) {
  if (nbl::faults::is_early(old) || !nbl::faults::works) {
    void* p = malloc(size);
    for (size_t i = 0; i < size && p != nullptr && nbl::faults::is_early(static_cast<char*>(old) + i); ++i)
      static_cast<char*>(p)[i] = static_cast<char*>(old)[i];
    return p;
  }
  if (size != 0 && nbl::faults::strikes(Kind::allocate)) {
    errno = ENOMEM;
    return nullptr;
  }
  const int64_t before = old == nullptr ? 0 : static_cast<int64_t>(malloc_usable_size(old));
  void* p = NBL_BEHIND(realloc)(old, size);
  if (p != nullptr || size == 0) {
    if (old != nullptr) {
      nbl::faults::live.fetch_sub(1, std::memory_order_relaxed);
      nbl::faults::bytes.fetch_sub(before, std::memory_order_relaxed);
    }
    nbl::faults::gained(p);
  }
  return p;
}

static void* aligned(size_t alignment, size_t size) {
  if (!nbl::faults::works) return nbl::faults::early_block(size);  // on lines of 64 bytes
  if (nbl::faults::strikes(Kind::allocate)) {
    errno = ENOMEM;
    return nullptr;
  }
  void* p = NBL_BEHIND(memalign)(alignment, size);
  nbl::faults::gained(p);
  return p;
}
void* memalign(size_t alignment, size_t size) { return aligned(alignment, size); }
void* aligned_alloc(size_t alignment, size_t size) { return aligned(alignment, size); }
int posix_memalign(void** out, size_t alignment, size_t size) {
  void* p = aligned(alignment, size);
  if (p == nullptr) return ENOMEM;
  *out = p;
  return 0;
}

void free(void* p) {
  if (nbl::faults::is_early(p)) return;
  nbl::faults::lost(p);
  NBL_BEHIND(free)(p);
}

#ifdef NBL_ADDRESS_SANITIZER
}  // extern "C"
// The sanitizer's own would go past malloc.
static void* allocated(void* p) {
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void* operator new(size_t size) { return allocated(malloc(size)); }
void* operator new[](size_t size) { return allocated(malloc(size)); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return malloc(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return malloc(size); }
void* operator new(size_t size, std::align_val_t alignment) { return allocated(aligned(static_cast<size_t>(alignment), size)); }
void* operator new[](size_t size, std::align_val_t alignment) { return allocated(aligned(static_cast<size_t>(alignment), size)); }
void* operator new(size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept { return aligned(static_cast<size_t>(alignment), size); }
void operator delete(void* p) noexcept { free(p); }
void operator delete[](void* p) noexcept { free(p); }
void operator delete(void* p, size_t) noexcept { free(p); }
void operator delete[](void* p, size_t) noexcept { free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { free(p); }
void operator delete(void* p, std::align_val_t) noexcept { free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { free(p); }
void operator delete[](void* p, size_t, std::align_val_t) noexcept { free(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { free(p); }
extern "C" {
#endif

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  if (nbl::faults::io_fault(Kind::open) == 1) return -1;
  static const auto real = nbl::faults::next<int (*)(const char*, int, ...)>("open");
  return real(path, flags, mode);
}

FILE* fopen(const char* path, const char* mode) {
  if (nbl::faults::io_fault(Kind::open) == 1) return nullptr;
  static const auto real = nbl::faults::next<FILE* (*)(const char*, const char*)>("fopen");
  return real(path, mode);
}

int mkostemp(char* name, int flags) {
  if (nbl::faults::io_fault(Kind::open) == 1) return -1;
  static const auto real = nbl::faults::next<int (*)(char*, int)>("mkostemp");
  return real(name, flags);
}

ssize_t read(int fd, void* buffer, size_t size) {
  const int fault = nbl::faults::io_fault(Kind::read);
  if (fault == 1) return -1;
  static const auto real = nbl::faults::next<ssize_t (*)(int, void*, size_t)>("read");
  return real(fd, buffer, fault == 2 && size > 1 ? size - 1 : size);
}

ssize_t pread(int fd, void* buffer, size_t size, off_t at) {
  const int fault = nbl::faults::io_fault(Kind::read);
  if (fault == 1) return -1;
  static const auto real = nbl::faults::next<ssize_t (*)(int, void*, size_t, off_t)>("pread");
  return real(fd, buffer, fault == 2 && size > 1 ? size - 1 : size, at);
}

ssize_t write(int fd, const void* buffer, size_t size) {
  const int fault = nbl::faults::io_fault(Kind::write);
  if (fault == 1) return -1;
  static const auto real = nbl::faults::next<ssize_t (*)(int, const void*, size_t)>("write");
  return real(fd, buffer, fault == 2 && size > 1 ? size - 1 : size);
}

ssize_t pwrite(int fd, const void* buffer, size_t size, off_t at) {
  const int fault = nbl::faults::io_fault(Kind::write);
  if (fault == 1) return -1;
  static const auto real = nbl::faults::next<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite");
  return real(fd, buffer, fault == 2 && size > 1 ? size - 1 : size, at);
}

int fsync(int fd) {
  if (nbl::faults::io_fault(Kind::sync) == 1) return -1;
  static const auto real = nbl::faults::next<int (*)(int)>("fsync");
  return real(fd);
}

int fdatasync(int fd) {
  if (nbl::faults::io_fault(Kind::sync) == 1) return -1;
  static const auto real = nbl::faults::next<int (*)(int)>("fdatasync");
  return real(fd);
}

int rename(const char* from, const char* to) {
  if (nbl::faults::io_fault(Kind::rename) == 1) return -1;
  static const auto real = nbl::faults::next<int (*)(const char*, const char*)>("rename");
  return real(from, to);
}

int ftruncate(int fd, off_t size) {
  if (nbl::faults::io_fault(Kind::truncate) == 1) return -1;
  static const auto real = nbl::faults::next<int (*)(int, off_t)>("ftruncate");
  return real(fd, size);
}

int unlink(const char* path) {
  if (nbl::faults::io_fault(Kind::remove) == 1) return -1;
  static const auto real = nbl::faults::next<int (*)(const char*)>("unlink");
  return real(path);
}

void* mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  if (nbl::faults::io_fault(Kind::map) == 1) return MAP_FAILED;
  static const auto real = nbl::faults::next<void* (*)(void*, size_t, int, int, int, off_t)>("mmap");
  return real(at, size, protection, flags, fd, offset);
}

// Once it has failed it goes on failing, as a process that is at its limit of threads finds. Visible to std::thread's library too.
__attribute__((visibility("default"))) int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument) {
  if (nbl::faults::thread_fault()) return EAGAIN;
  static const auto real = nbl::faults::next<int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create");
  return real(thread, attributes, start, argument);
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  static const auto real = nbl::faults::next<int (*)(clockid_t, struct timespec*)>("clock_gettime");
  const int result = real(clock, now);
  static std::atomic<uint32_t> calls{0};
  if (result == 0 && nbl::faults::clocks_jump) now->tv_sec += (calls.fetch_add(1) % 3 == 0 ? -1 : 1) * 86400L * (calls % 7);
  return result;
}

}  // extern "C"
