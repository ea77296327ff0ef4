#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>

#include "cli/cli.h"
#include "cli/table.h"

namespace nibble::cli {
namespace {

volatile std::sig_atomic_t stop_asked = 0;

void on_signal(int) { stop_asked = 1; }

using Clock = std::chrono::steady_clock;

std::string duration(double seconds) {
  const int64_t s = std::llround(seconds);
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
}

class Display {
 public:
  explicit Display(const Global& global) : quiet_(global.quiet), terminal_(isatty(STDERR_FILENO) == 1) {}
  ~Display() { clear(); }
  Display(const Display&) = delete;
  Display& operator=(const Display&) = delete;

  bool show(const Progress& p) {
    if (interrupted()) return false;
    if (quiet_) return true;
    const auto now = Clock::now();
    // The stages of quantization take turns, layer by layer, and count the same steps: the clock starts anew only with
    // another count.
    if (p.total != total_ || p.done < done_) {
      total_ = p.total;
      first_ = p.done;
      start_ = now;
    }
    done_ = p.done;
    const double since = std::chrono::duration<double>(now - last_).count();
    if (since < (terminal_ ? 0.1 : 3.0)) return true;
    last_ = now;
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    std::string line = fmt::format("{}", p.stage);
    if (p.total > 0) {
      const double share = static_cast<double>(p.done) / static_cast<double>(p.total);
      if (terminal_) line += " " + bar(share);
      line += fmt::format(" {}/{}", p.done, p.total);
      if (p.done > first_ && elapsed > 0.1) {
        const double rate = static_cast<double>(p.done - first_) / elapsed;
        line += fmt::format("  {:.3g}/s  ETA {}", rate, duration(static_cast<double>(p.total - p.done) / rate));
      }
    }
    if (p.memory_bytes > 0) line += fmt::format("  {} MB", p.memory_bytes / 1000000);
    if (!p.detail.empty()) line += fmt::format("  {}", plain(p.detail));
    if (terminal_) {
      winsize size{};
      const std::size_t columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 8 ? size.ws_col : 80u;
      if (line.size() >= columns) line.resize(columns - 1);
      fmt::print(stderr, "\r{}\x1b[K", line);
      std::fflush(stderr);
      drawn_ = true;
    } else {
      fmt::print(stderr, "{}\n", line);
    }
    return true;
  }

 private:
  static std::string bar(double share) {
    constexpr int kWidth = 24;
    const int full = static_cast<int>(std::lround(share * kWidth));
    std::string text = "[";
    for (int i = 0; i < kWidth; ++i) text += i < full ? '#' : '.';
    return text + "]";
  }
  void clear() {
    if (drawn_) fmt::print(stderr, "\r\x1b[K");
  }

  bool quiet_, terminal_, drawn_ = false;
  int64_t total_ = -1, done_ = 0, first_ = 0;  // of the count that is running
  Clock::time_point start_ = Clock::now(), last_ = Clock::now();
};

}  // namespace

namespace {

void install_handlers(int flags) {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | flags;  // the second one kills
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

void catch_signals() {
  install_handlers(SA_RESTART);
  // A file that grows past the limit of its size is then an error that can be reported, not the end of the process.
  std::signal(SIGXFSZ, SIG_IGN);
}

bool interrupted() { return stop_asked != 0; }

void clear_interruption() {
  stop_asked = 0;
  install_handlers(0);
}

ProgressFn make_progress(const Global& global) {
  return [display = std::make_shared<Display>(global)](const Progress& p) { return display->show(p); };
}

}  // namespace nibble::cli
