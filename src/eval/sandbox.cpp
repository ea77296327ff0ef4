#include "eval/sandbox.h"

#include <fmt/format.h>

#ifdef __linux__
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/securebits.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <vector>
#endif

namespace nbl::eval {

#ifndef __linux__

Result<SandboxResult> run_sandboxed(std::string_view, std::string_view, const SandboxLimits&) {
  return Status(Code::unsupported, "programs that a model wrote are run on Linux only");
}

#else
namespace {

using Clock = std::chrono::steady_clock;

#if defined(__x86_64__)
constexpr uint32_t kArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArch = AUDIT_ARCH_AARCH64;
#else
constexpr uint32_t kArch = 0;
#endif

constexpr uint32_t refuse(uint32_t error) { return SECCOMP_RET_ERRNO | error; }

sock_filter statement(uint32_t code, uint32_t k) { return {static_cast<uint16_t>(code), 0, 0, k}; }
sock_filter jump(uint32_t code, uint32_t k, int yes, int no) {
  return {static_cast<uint16_t>(code), static_cast<uint8_t>(yes), static_cast<uint8_t>(no), k};
}

constexpr uint32_t argument_offset(int index) {
  return static_cast<uint32_t>(offsetof(seccomp_data, args) + static_cast<std::size_t>(index) * sizeof(uint64_t));
}

/// The filter, made before the fork: afterwards nothing may allocate.
std::vector<sock_filter> make_filter() {
  std::vector<sock_filter> f;
  f.push_back(statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)));
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, kArch, 1, 0));
  f.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  f.push_back(statement(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
#ifdef __x86_64__
  // The numbers of the x32 interface are other names for the same calls.
  f.push_back(jump(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1));
  f.push_back(statement(BPF_RET | BPF_K, refuse(ENOSYS)));
#endif
  const auto deny = [&](long number, uint32_t error) {
    f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1));
    f.push_back(statement(BPF_RET | BPF_K, refuse(error)));
  };
  for (const long number : {
           SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_sendto, SYS_sendmsg,
           SYS_ptrace, SYS_kill, SYS_tkill, SYS_tgkill, SYS_process_vm_readv, SYS_process_vm_writev, SYS_mount, SYS_umount2, SYS_unshare,
           SYS_setns, SYS_chroot, SYS_pivot_root, SYS_unlinkat, SYS_renameat2, SYS_mkdirat, SYS_linkat, SYS_symlinkat,
           SYS_mknodat, SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_truncate, SYS_ftruncate, SYS_setrlimit,
           SYS_shmget, SYS_keyctl, SYS_bpf, SYS_perf_event_open, SYS_io_uring_setup, SYS_reboot, SYS_memfd_create,
           SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_setpriority, SYS_sched_setparam, SYS_sched_setscheduler, SYS_sched_setaffinity,
           SYS_sched_setattr, SYS_ioprio_set, SYS_semget, SYS_msgget, SYS_mq_open, SYS_mq_unlink, SYS_add_key, SYS_request_key,
           SYS_userfaultfd, SYS_kcmp, SYS_move_pages, SYS_migrate_pages, SYS_lsetxattr, SYS_removexattr, SYS_lremovexattr,
           SYS_fremovexattr, SYS_fanotify_init,
#ifdef SYS_pidfd_getfd
           SYS_pidfd_getfd,
#endif
#ifdef SYS_process_madvise
           SYS_process_madvise,
#endif
#ifdef SYS_fchmodat2
           SYS_fchmodat2,
#endif
           SYS_pidfd_send_signal, SYS_open_by_handle_at, SYS_setxattr, SYS_fsetxattr, SYS_utimensat, SYS_openat2, SYS_prctl,
#ifdef SYS_renameat
           SYS_renameat,
#endif
#ifdef SYS_unlink
           SYS_unlink, SYS_rename, SYS_mkdir, SYS_rmdir, SYS_link, SYS_symlink, SYS_mknod, SYS_chmod, SYS_chown, SYS_lchown,
           SYS_creat, SYS_utime, SYS_utimes, SYS_fork, SYS_vfork,
#endif
       })
    deny(number, EPERM);
  // The C library falls back to clone() when there is no clone3(), whose flags a filter cannot see.
  deny(SYS_clone3, ENOSYS);
  // prlimit64(pid, which, new, old) only asks when `new` is null.
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_prlimit64, 0, 4));
  f.push_back(statement(BPF_LD | BPF_W | BPF_ABS, argument_offset(2)));
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0));
  f.push_back(statement(BPF_RET | BPF_K, refuse(EPERM)));
  f.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  // clone() makes threads, never processes.
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4));
  f.push_back(statement(BPF_LD | BPF_W | BPF_ABS, argument_offset(0)));
  f.push_back(jump(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0));
  f.push_back(statement(BPF_RET | BPF_K, refuse(EPERM)));
  f.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  // A descriptor's owner is sent signals.
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 6));
  f.push_back(statement(BPF_LD | BPF_W | BPF_ABS, argument_offset(1)));
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, F_SETOWN, 2, 0));
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, F_SETSIG, 1, 0));
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, F_SETOWN_EX, 0, 1));
  f.push_back(statement(BPF_RET | BPF_K, refuse(EPERM)));
  f.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  // Of terminals and devices one may ask what Python asks.
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 7));
  f.push_back(statement(BPF_LD | BPF_W | BPF_ABS, argument_offset(1)));
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, TCGETS, 4, 0));
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, TIOCGWINSZ, 3, 0));
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, FIOCLEX, 2, 0));
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, FIONCLEX, 1, 0));
  f.push_back(statement(BPF_RET | BPF_K, refuse(EPERM)));
  f.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  // Files are opened for reading.
  constexpr uint32_t kWriting = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND;
#ifdef SYS_open
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_open, 0, 4));
  f.push_back(statement(BPF_LD | BPF_W | BPF_ABS, argument_offset(1)));
  f.push_back(jump(BPF_JMP | BPF_JSET | BPF_K, kWriting, 0, 1));
  f.push_back(statement(BPF_RET | BPF_K, refuse(EACCES)));
  f.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
#endif
  f.push_back(jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 4));
  f.push_back(statement(BPF_LD | BPF_W | BPF_ABS, argument_offset(2)));
  f.push_back(jump(BPF_JMP | BPF_JSET | BPF_K, kWriting, 0, 1));
  f.push_back(statement(BPF_RET | BPF_K, refuse(EACCES)));
  f.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  f.push_back(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  return f;
}

void limit(int which, int64_t value) {
  rlimit r;
  r.rlim_cur = r.rlim_max = static_cast<rlim_t>(value);
  (void)setrlimit(static_cast<decltype(RLIMIT_CPU)>(which), &r);
}

/// Root without root's powers: what a program may do as root is what any user may, also after exec. Others have no powers to give up.
void drop_capabilities() {
  (void)prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED, 0, 0, 0);
  for (unsigned long capability = 0; capability < 64; ++capability) (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  (void)syscall(SYS_capset, &header, none);
}

/// Where the kernel has Landlock: no file is written, and the memory of processes outside is not read (/proc/PID/mem), which the
/// filter, seeing no paths, cannot tell from other files. Elsewhere the filter is all there is.
void restrict_files() {
#ifdef SYS_landlock_create_ruleset
  // Rights of the first version of the interface: execute (bit 0), read_file (2) and read_dir (3) stay free, all others are handled.
  const uint64_t handled = ((uint64_t{1} << 13) - 1) & ~uint64_t{0b1101};
  const int rules = static_cast<int>(syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0));
  if (rules < 0) return;
  (void)syscall(SYS_landlock_restrict_self, rules, 0);
  close(rules);
#endif
}

/// Between fork and exec: system calls alone.
[[noreturn]] void become_program(const char* interpreter, const sock_fprog& filter, int in, int out,
                                 const SandboxLimits& limits) {
  constexpr int kNoFilter = 125, kNoProgram = 126;
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(in, STDIN_FILENO);
  dup2(out, STDOUT_FILENO);
  dup2(out, STDERR_FILENO);
  for (int fd = 3; fd < 1024; ++fd) close(fd);
  if (chdir("/") != 0) _exit(kNoProgram);
  limit(RLIMIT_CPU, limits.cpu_seconds);
  limit(RLIMIT_AS, limits.memory_bytes);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 1 << 20);
  limit(RLIMIT_NOFILE, 64);
  char flag_isolated[] = "-I", flag_site[] = "-S", flag_bytes[] = "-B", dash[] = "-";
  char* const arguments[] = {const_cast<char*>(interpreter), flag_isolated, flag_site, flag_bytes, dash, nullptr};
  char* const environment[] = {nullptr};
  drop_capabilities();
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(kNoFilter);
  restrict_files();
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) _exit(kNoFilter);
  execve(interpreter, arguments, environment);
  _exit(kNoProgram);
}

}  // namespace

Result<SandboxResult> run_sandboxed(std::string_view interpreter, std::string_view program, const SandboxLimits& limits) {
  if (kArch == 0) return Status(Code::unsupported, "this processor has no sandbox for programs that a model wrote");
  const std::string path(interpreter);
  if (access(path.c_str(), X_OK) != 0)
    return Status(Code::not_found, fmt::format("the interpreter {} cannot be run: {}", path, std::strerror(errno)));
  std::vector<sock_filter> code = make_filter();
  const sock_fprog filter = {static_cast<uint16_t>(code.size()), code.data()};
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) != 0) return Status(Code::limit, fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  if (pipe2(out, O_CLOEXEC) != 0) {
    const int error = errno;
    close(in[0]), close(in[1]);
    return Status(Code::limit, fmt::format("cannot make a pipe: {}", std::strerror(error)));
  }
  const pid_t child = fork();
  if (child == 0) become_program(path.c_str(), filter, in[0], out[1], limits);
  close(in[0]), close(out[1]);
  if (child < 0) {
    const int error = errno;
    close(in[1]), close(out[0]);
    return Status(Code::limit, fmt::format("cannot start a process: {}", std::strerror(error)));
  }
  fcntl(in[1], F_SETFL, O_NONBLOCK);
  fcntl(out[0], F_SETFL, O_NONBLOCK);
  // A child that does not read would otherwise end this process with SIGPIPE.
  sigset_t pipe_signal, before;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);

  SandboxResult result;
  const auto end = Clock::now() + std::chrono::duration<double>(limits.seconds);
  bool writing = true, reading = true, timed_out = false;
  while (reading || writing) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) {
      timed_out = true;
      break;
    }
    pollfd fds[2] = {{writing ? in[1] : -1, POLLOUT, 0}, {reading ? out[0] : -1, POLLIN, 0}};
    if (poll(fds, 2, static_cast<int>(left)) < 0 && errno != EINTR) break;
    if (writing && (fds[0].revents & (POLLOUT | POLLERR | POLLHUP)) != 0) {
      const ssize_t put = write(in[1], program.data(), program.size());
      if (put > 0) program.remove_prefix(static_cast<std::size_t>(put));
      if (program.empty() || (put < 0 && errno != EAGAIN && errno != EINTR)) {
        writing = false;
        close(in[1]);
      }
    }
    if (reading && (fds[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
      char piece[4096];
      const ssize_t got = read(out[0], piece, sizeof piece);
      if (got > 0) {
        result.output.append(piece, static_cast<std::size_t>(got));
        if (result.output.size() > 8192) result.output.erase(0, result.output.size() - 4096);
      } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        reading = false;
      }
    }
  }
  if (writing) close(in[1]);
  close(out[0]);
  // A program may close its output and go on.
  int status = 0;
  for (;;) {
    timed_out = timed_out || Clock::now() >= end;
    if (timed_out) kill(child, SIGKILL);
    const pid_t done = waitpid(child, &status, timed_out ? 0 : WNOHANG);
    if (done == child || (done < 0 && errno != EINTR)) break;
    if (!timed_out) poll(nullptr, 0, 2);
  }
  const timespec none = {0, 0};
  while (sigtimedwait(&pipe_signal, nullptr, &none) > 0) {
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (result.output.size() > 4096) result.output.erase(0, result.output.size() - 4096);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 125 && result.output.empty())
    return Status(Code::unsupported, "this kernel accepts no system call filter, so programs that a model wrote are not run");
  if (timed_out || (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)) {
    result.outcome = Outcome::timed_out;
  } else if (WIFSIGNALED(status)) {
    result.outcome = WTERMSIG(status) == SIGKILL ? Outcome::timed_out : Outcome::killed;
  } else {
    result.outcome = WEXITSTATUS(status) == 0 ? Outcome::passed : Outcome::failed;
  }
  return result;
}

#endif

}  // namespace nbl::eval
