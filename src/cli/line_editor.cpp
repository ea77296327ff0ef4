#include "cli/line_editor.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "base/foreign.h"

#ifdef NIBBLE_HAVE_EDITLINE
#include <editline/readline.h>

#include <clocale>
#endif

namespace nibble::cli {

LineEditor::LineEditor() : terminal_(isatty(STDIN_FILENO) == 1) {
#ifdef NIBBLE_HAVE_EDITLINE
  if (!terminal_) return;
  // libedit drops every character that the locale's character set lacks, and a model reads UTF-8 whatever the locale is.
  if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
  using_history();
#endif
}

LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::read(const std::string& prompt) {
#ifdef NIBBLE_HAVE_EDITLINE
  if (terminal_) {
    char* const line = readline(prompt.c_str());
    if (line == nullptr) return std::nullopt;
    nbl::block_filled_elsewhere(line);
    std::string out(line);
    std::free(line);
    if (!out.empty()) add_history(out.c_str());
    return out;
  }
#endif
  if (terminal_) {
    std::fputs(prompt.c_str(), stdout);
    std::fflush(stdout);
  }
  // read(2) and not a stream: a signal must end the wait.
  std::string out;
  for (;;) {
    char c = 0;
    const ssize_t got = ::read(STDIN_FILENO, &c, 1);
    if (got < 0) return std::nullopt;
    if (got == 0) return out.empty() ? std::nullopt : std::optional<std::string>(std::move(out));
    if (c == '\n') return out;
    if (c != '\r') out += c;
  }
}

}  // namespace nibble::cli
