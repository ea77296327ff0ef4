// Lines from a person: edited and with history on a terminal, plain elsewhere.
#pragma once

#include <optional>
#include <string>

namespace nibble::cli {

class LineEditor {
 public:
  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;
  /// Whether a person types.
  bool terminal() const { return terminal_; }
  /// The next line without its end; empty optional at the end of the input, or when a signal came. `prompt` is shown on
  /// a terminal only.
  std::optional<std::string> read(const std::string& prompt);

 private:
  bool terminal_ = false;
};

}  // namespace nibble::cli
