// Jinja templates: what published chat templates and task descriptions use of the language, interpreted in a sandbox.
//
// Meant to give the text that Python's jinja2 gives. A template can reach nothing but its variables, and is bounded in
// steps, nesting and memory. docs/chat-templates.md lists what is there and what is not.
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"

namespace nbl::text {

namespace jinja {
struct Program;
}

struct TemplateLimits {
  int64_t max_source_bytes = int64_t{4} << 20;
  int64_t max_steps = 20'000'000;  ///< expressions evaluated, elements visited, and a part of the bytes moved
  /// Bytes that values may take in all. What the variables take is added to it eightfold: a long conversation may be
  /// copied a few times.
  int64_t max_memory_bytes = int64_t{256} << 20;
  int max_depth = 200;  ///< of nested blocks, expressions, calls and lists
};

struct TemplateOptions {
  // As in jinja2.Environment.
  bool trim_blocks = false;            ///< the first line break after a block tag goes
  bool lstrip_blocks = false;          ///< blanks before a block tag that begins its line go
  bool keep_trailing_newline = false;  ///< otherwise one line break at the end goes
  bool strict_undefined = false;       ///< printing, testing or looping over an undefined variable is an error
  TemplateLimits limits;
  /// Filters besides the language's own: the value and the positional arguments to a result.
  std::map<std::string, std::function<Result<Json>(const Json& value, std::span<const Json> arguments)>> filters;
};

/// A compiled template: immutable, usable from several threads at once.
class Template {
 public:
  /// `origin` names the template in messages. Code::corrupt for a syntax error, Code::unsupported for a statement,
  /// filter or test that is not there; both say the line.
  static Result<Template> compile(std::string_view source, std::string_view origin, TemplateOptions options = {});
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  /// The text for these variables (members of an object). `now` is what strftime_now() formats; the present if empty.
  /// Code::corrupt when the template raises or misuses a value, Code::limit when it exceeds a bound; both say the line.
  Result<std::string> render(const Json& variables, const std::optional<std::tm>& now = {}) const;

 private:
  explicit Template(std::unique_ptr<const jinja::Program> program);
  std::unique_ptr<const jinja::Program> program_;
};

}  // namespace nbl::text
