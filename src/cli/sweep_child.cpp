#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "cli/sweep.h"

extern char** environ;

namespace nibble::cli {

std::string bench_in_child(const Global& global, const std::string& model, const std::vector<std::string>& options) {
  std::vector<std::string> arguments{"nibble", "bench", model, "--json", "-", "--quiet", "--compute", global.compute};
  if (global.tune == "on") arguments.insert(arguments.end(), {"--tune", "on"});
  if (global.threads > 0) arguments.insert(arguments.end(), {"--threads", fmt::format("{}", global.threads)});
  if (!global.isa.empty()) arguments.insert(arguments.end(), {"--isa", global.isa});
  if (!global.max_ram.empty()) arguments.insert(arguments.end(), {"--max-ram", global.max_ram});
  arguments.insert(arguments.end(), options.begin(), options.end());
  std::vector<char*> argv;
  for (std::string& each : arguments) argv.push_back(each.data());
  argv.push_back(nullptr);

  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw Failure(kLimit, fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t child = 0;
  const int error = posix_spawn(&child, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string output;
  if (error == 0) {
    char piece[4096];
    for (;;) {
      const ssize_t got = read(ends[0], piece, sizeof piece);
      if (got > 0) output.append(piece, static_cast<std::size_t>(got));
      if (got == 0 || (got < 0 && errno != EINTR)) break;
      if (interrupted()) kill(child, SIGTERM);
    }
  }
  close(ends[0]);
  if (error != 0) throw Failure(kLimit, fmt::format("cannot start a process to measure in: {}", std::strerror(error)));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (interrupted()) throw Error(NBL_E_CANCELLED, "cancelled");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw Failure(WIFEXITED(status) ? WEXITSTATUS(status) : kLimit,
                  fmt::format("measuring the speed of '{}' failed", model));
  }
  return output;
}

}  // namespace nibble::cli
