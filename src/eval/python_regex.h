// Regular expressions as Python's re has them, for the filters and metrics of tasks.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace nbl::eval {

class PythonRegex {
 public:
  struct Match {
    std::size_t begin = 0, end = 0;
    std::vector<std::string> groups;  ///< group 1, 2, ...; empty when a group took no part
  };

  static Result<PythonRegex> compile(std::string_view pattern, bool ignore_case = false);
  /// For patterns of our own, which are known to compile.
  static PythonRegex known(std::string_view pattern);
  PythonRegex(PythonRegex&&) noexcept;
  PythonRegex& operator=(PythonRegex&&) noexcept;
  ~PythonRegex();

  /// re.finditer(). A search that backtracks without end stops and finds nothing more.
  std::vector<Match> find_all(std::string_view text) const;
  /// re.search(): whether it matches anywhere; `first` may be null.
  bool search(std::string_view text, Match* first = nullptr) const;
  /// re.sub() with \1 ... \9 in the replacement.
  std::string replace(std::string_view text, std::string_view replacement) const;

 private:
  struct Impl;
  explicit PythonRegex(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

std::vector<PythonRegex> compile_all(std::initializer_list<std::string_view> patterns);

}  // namespace nbl::eval
