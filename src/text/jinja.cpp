#include "text/jinja.h"

#include <fmt/format.h>

#include "text/jinja_evaluator.h"
#include "text/jinja_parser.h"
#include "text/utf8.h"

namespace nbl::text {

Template::Template(std::unique_ptr<const jinja::Program> program) : program_(std::move(program)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

Result<Template> Template::compile(std::string_view source, std::string_view origin, TemplateOptions options) {
  if (static_cast<int64_t>(source.size()) > options.limits.max_source_bytes) {
    return Status(Code::limit,
                  fmt::format("{} has {} bytes, more than {}", origin, source.size(), options.limits.max_source_bytes));
  }
  if (!is_valid_utf8(source)) return Status(Code::corrupt, fmt::format("{} is not valid UTF-8", origin));
  auto program = std::make_unique<jinja::Program>();
  program->origin = std::string(origin);
  program->options = std::move(options);
  auto tokens = jinja::tokenize(source, program->options);
  if (!tokens.ok()) return tokens.status().with_context(program->origin);
  auto body = jinja::Parser(std::move(tokens).value(), program->options).run();
  if (!body.ok()) return body.status().with_context(program->origin);
  program->body = std::move(body).value();
  return Template(std::move(program));
}

Result<std::string> Template::render(const Json& variables, const std::optional<std::tm>& now) const {
  jinja::Evaluator evaluator(*program_, variables, now);
  auto out = evaluator.run();
  if (!out.ok()) return out.status().with_context(program_->origin);
  return out;
}

}  // namespace nbl::text
