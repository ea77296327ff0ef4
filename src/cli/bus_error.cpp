// What becomes of SIGBUS: a model's file is mapped, and another process cut it short. A command can say so and end; the library, which
// takes no signals, leaves it to its caller. Only what may be called in a signal handler is called here.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <string_view>

#include "cli/cli.h"

namespace nibble::cli {
namespace {

uintptr_t hexadecimal(std::string_view digits) {
  uintptr_t number = 0;
  for (const char c : digits) number = number * 16 + static_cast<uintptr_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  return number;
}

/// The path in a line of /proc/self/maps, "START-END rwxp OFFSET DEVICE INODE      PATH", if its mapping holds the address.
std::string_view path_around(std::string_view line, uintptr_t address) {
  const std::size_t dash = line.find('-'), blank = line.find(' '), slash = line.find('/');
  if (dash == line.npos || blank == line.npos || slash == line.npos || dash > blank) return {};
  const bool inside = hexadecimal(line.substr(0, dash)) <= address && address < hexadecimal(line.substr(dash + 1, blank - dash - 1));
  return inside ? line.substr(slash) : std::string_view();
}

void say(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(STDERR_FILENO, text.data(), text.size());
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

void on_bus_error(int, siginfo_t* info, void*) {
  static std::atomic_flag met;
  if (met.test_and_set()) {  // the other threads of a team read the same file
    while (true) pause();
  }
  static char buffer[8192];
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  std::string_view path;
  const int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  std::size_t held = 0;
  while (maps >= 0 && path.empty()) {
    const ssize_t n = read(maps, buffer + held, sizeof buffer - held);
    if (n <= 0) break;
    held += static_cast<std::size_t>(n);
    std::size_t start = 0;
    for (std::size_t i = 0; i < held && path.empty(); ++i) {
      if (buffer[i] != '\n') continue;
      path = path_around({buffer + start, i - start}, address);
      start = i + 1;
    }
    if (!path.empty()) break;
    for (std::size_t i = start; i < held; ++i) buffer[i - start] = buffer[i];
    held -= start;
  }
  for (std::size_t i = 0; i < path.size(); ++i) {  // a name must not speak to the terminal
    char& c = buffer[static_cast<std::size_t>(path.data() - buffer) + i];
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  say("\nnibble: ");
  say(path.empty() ? "a mapped file" : path);
  say(" could not be read any more: another process cut it short, or its disk failed. --no-mmap reads model files into memory first\n");
  _exit(kBadInput);
}

}  // namespace

void catch_bus_errors() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace nibble::cli
