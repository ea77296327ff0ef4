/* Loaded before libc (LD_PRELOAD): passes every call on, and writes down what it changes of the files below one folder, so that
 * power.py can say what a disk would hold had the power failed between two of them.
 *
 * NIBBLE_POWER_ROOT  the folder; NIBBLE_POWER_LOG  the file the calls are written to, as records:
 *   one letter, then little-endian fields; a string or a block of data is its uint32 length and its bytes
 *   C inode path | M path | W inode offset data | T inode length | S inode | D path | R from to | U path
 * (create, make directory, write, truncate, sync a file, sync a directory, rename, unlink or remove)
 * Inodes are int64 numbers of the real file system.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static char root[PATH_MAX];
static size_t root_size;

#define NEXT(name) ((__typeof__(&name))next(#name))
static void* next(const char* name) { return dlsym(RTLD_NEXT, name); }

static void begin(void) __attribute__((constructor));
static void begin(void) {
  const char* folder = getenv("NIBBLE_POWER_ROOT");
  const char* file = getenv("NIBBLE_POWER_LOG");
  if (folder == NULL || file == NULL || realpath(folder, root) == NULL) return;
  root_size = strlen(root);
  log_fd = NEXT(open)(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* The path without its "." and "..", when it lies below the root. */
static int inside(const char* path, char* out) {
  char folder[PATH_MAX], copy[PATH_MAX];
  if (log_fd < 0 || path == NULL || strlen(path) >= sizeof copy) return 0;
  strcpy(copy, path);
  char* slash = strrchr(copy, '/');
  const char* last = slash == NULL ? copy : slash + 1;
  if (slash != NULL) *slash = '\0';
  const char* parent = slash == NULL ? "." : *copy == '\0' ? "/" : copy;
  if (realpath(parent, folder) == NULL) return 0;
  if (strcmp(last, ".") == 0 || *last == '\0') {
    strcpy(out, folder);
  } else if (snprintf(out, PATH_MAX, "%s/%s", folder, last) >= PATH_MAX) {
    return 0;
  }
  return strncmp(out, root, root_size) == 0 && (out[root_size] == '/' || out[root_size] == '\0');
}

static int fd_inside(int fd, char* out) {
  char name[64];
  if (log_fd < 0) return 0;
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(name, out, PATH_MAX - 1);
  if (n <= 0) return 0;
  out[n] = '\0';
  return strncmp(out, root, root_size) == 0 && (out[root_size] == '/' || out[root_size] == '\0');
}

static int64_t inode(int fd, const char* path) {
  struct stat st;
  if ((path != NULL ? lstat(path, &st) : fstat(fd, &st)) != 0) return -1;
  return (int64_t)st.st_ino;
}

static void put(const void* data, size_t size) {
  const char* p = data;
  while (size > 0) {
    const ssize_t n = NEXT(write)(log_fd, p, size);
    if (n <= 0) abort();
    p += n;
    size -= (size_t)n;
  }
}
static void put_block(const void* data, size_t size) {
  const uint32_t length = (uint32_t)size;
  put(&length, sizeof length);
  put(data, size);
}

static void record(char kind, int64_t a, int64_t b, const char* one, const char* two, const void* data, size_t size) {
  const int error = errno;
  pthread_mutex_lock(&turn);
  put(&kind, 1);
  switch (kind) {
    case 'C': put(&a, 8); put_block(one, strlen(one)); break;
    case 'W': put(&a, 8); put(&b, 8); put_block(data, size); break;
    case 'T': put(&a, 8); put(&b, 8); break;
    case 'S': put(&a, 8); break;
    case 'R': put_block(one, strlen(one)); put_block(two, strlen(two)); break;
    default: put_block(one, strlen(one)); break;
  }
  pthread_mutex_unlock(&turn);
  errno = error;
}

static int opened(int fd, const char* path, int flags, int existed) {
  char full[PATH_MAX];
  if (fd < 0 || (flags & O_TMPFILE) == O_TMPFILE || !inside(path, full)) return fd;
  if ((flags & O_CREAT) != 0 && !existed) record('C', inode(fd, NULL), 0, full, NULL, NULL, 0);
  if ((flags & O_TRUNC) != 0 && existed) record('T', inode(fd, NULL), 0, NULL, NULL, NULL, 0);
  return fd;
}

#define OPEN(name)                                              \
  int name(const char* path, int flags, ...) {                  \
    mode_t mode = 0;                                            \
    if ((flags & (O_CREAT | O_TMPFILE)) != 0) {                 \
      va_list list;                                             \
      va_start(list, flags);                                    \
      mode = va_arg(list, mode_t);                              \
      va_end(list);                                             \
    }                                                           \
    const int existed = access(path, F_OK) == 0;                \
    return opened(NEXT(name)(path, flags, mode), path, flags, existed); \
  }
OPEN(open)
OPEN(open64)

#define FOPEN(name)                                                                           \
  FILE* name(const char* path, const char* mode) {                                            \
    const int existed = access(path, F_OK) == 0;                                              \
    FILE* file = NEXT(name)(path, mode);                                                      \
    if (file != NULL && *mode == 'w') {                                                       \
      char full[PATH_MAX];                                                                    \
      (void)opened(fileno(file), path, O_CREAT | O_TRUNC, existed);                           \
      if (inside(path, full)) setvbuf(file, NULL, _IONBF, 0); /* each fwrite a write */       \
    }                                                                                         \
    return file;                                                                              \
  }
FOPEN(fopen)
FOPEN(fopen64)

size_t fwrite(const void* data, size_t size, size_t count, FILE* file) {
  char full[PATH_MAX];
  const int mine = fd_inside(fileno(file), full);
  const off_t at = mine ? ftello(file) : 0;
  const size_t done = NEXT(fwrite)(data, size, count, file);
  if (mine && done > 0) record('W', inode(fileno(file), NULL), at, NULL, NULL, data, done * size);
  return done;
}

int mkostemp(char* name, int flags) {
  const int fd = NEXT(mkostemp)(name, flags);
  return opened(fd, name, O_CREAT, 0);
}

#define PWRITE(name, offset_type)                                                         \
  ssize_t name(int fd, const void* data, size_t size, offset_type at) {                   \
    const ssize_t n = NEXT(name)(fd, data, size, at);                                     \
    char full[PATH_MAX];                                                                  \
    if (n > 0 && fd_inside(fd, full)) record('W', inode(fd, NULL), at, NULL, NULL, data, (size_t)n); \
    return n;                                                                             \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int fd, const void* data, size_t size) {
  char full[PATH_MAX];
  const int mine = fd_inside(fd, full);
  const off_t at = mine ? lseek(fd, 0, SEEK_CUR) : 0;
  const ssize_t n = NEXT(write)(fd, data, size);
  if (mine && n > 0) record('W', inode(fd, NULL), at, NULL, NULL, data, (size_t)n);
  return n;
}

#define TRUNCATE(name, offset_type)                                                              \
  int name(int fd, offset_type length) {                                                         \
    const int result = NEXT(name)(fd, length);                                                   \
    char full[PATH_MAX];                                                                         \
    if (result == 0 && fd_inside(fd, full)) record('T', inode(fd, NULL), length, NULL, NULL, NULL, 0); \
    return result;                                                                               \
  }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                                              \
  int name(int fd) {                                                            \
    const int result = NEXT(name)(fd);                                          \
    char full[PATH_MAX];                                                        \
    struct stat st;                                                             \
    if (result == 0 && fd_inside(fd, full) && fstat(fd, &st) == 0) {            \
      if (S_ISDIR(st.st_mode)) record('D', 0, 0, full, NULL, NULL, 0);          \
      else record('S', (int64_t)st.st_ino, 0, NULL, NULL, NULL, 0);             \
    }                                                                           \
    return result;                                                              \
  }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char* from, const char* to) {
  char one[PATH_MAX], two[PATH_MAX];
  const int mine = inside(from, one) && inside(to, two);
  const int result = NEXT(rename)(from, to);
  if (result == 0 && mine) record('R', 0, 0, one, two, NULL, 0);
  return result;
}

#define REMOVE(name)                                                     \
  int name(const char* path) {                                           \
    char full[PATH_MAX];                                                 \
    const int mine = inside(path, full);                                 \
    const int result = NEXT(name)(path);                                 \
    if (result == 0 && mine) record('U', 0, 0, full, NULL, NULL, 0);     \
    return result;                                                       \
  }
REMOVE(unlink)
REMOVE(remove)
REMOVE(rmdir)

int unlinkat(int folder, const char* path, int flags) {
  char full[PATH_MAX], parent[PATH_MAX];
  int mine = 0;
  if (folder != AT_FDCWD && *path != '/' && fd_inside(folder, parent))
    mine = snprintf(full, sizeof full, "%s/%s", parent, path) < (int)sizeof full;
  else
    mine = inside(path, full);
  const int result = NEXT(unlinkat)(folder, path, flags);
  if (result == 0 && mine) record('U', 0, 0, full, NULL, NULL, 0);
  return result;
}

int mkdir(const char* path, mode_t mode) {
  const int result = NEXT(mkdir)(path, mode);
  char full[PATH_MAX];
  if (result == 0 && inside(path, full)) record('M', 0, 0, full, NULL, NULL, 0);
  return result;
}
