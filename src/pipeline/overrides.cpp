#include "pipeline/overrides.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

namespace nbl::pipeline {
namespace {

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

struct Rule {
  std::string pattern;
  std::unique_ptr<pcre2_code, FreeCode> code;
  bool keep = false;
  quant::Recipe recipe;
  bool used = false;
};

std::string error_text(int code) {
  PCRE2_UCHAR buffer[256] = {};
  const int length = pcre2_get_error_message(code, buffer, sizeof(buffer));
  return length > 0 ? std::string(reinterpret_cast<const char*>(buffer), static_cast<std::size_t>(length))
                    : "unknown error";
}

}  // namespace

struct Overrides::Impl {
  quant::Recipe standard;
  std::vector<Rule> rules;
};

Overrides::Overrides(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Overrides::Overrides(Overrides&&) noexcept = default;
Overrides& Overrides::operator=(Overrides&&) noexcept = default;
Overrides::~Overrides() = default;

Result<Overrides> Overrides::create(const std::vector<std::pair<std::string, std::string>>& rules,
                                    const quant::Recipe& standard) {
  auto impl = std::make_unique<Impl>();
  impl->standard = standard;
  for (const auto& [pattern, recipe] : rules) {
    Rule rule;
    rule.pattern = pattern;
    int error = 0;
    PCRE2_SIZE offset = 0;
    rule.code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  PCRE2_ANCHORED | PCRE2_ENDANCHORED, &error, &offset, nullptr));
    if (!rule.code) {
      return Status(Code::invalid_argument, fmt::format("override \"{}\" is no regular expression: {} at position {}",
                                                        pattern, error_text(error), offset));
    }
    rule.keep = recipe.empty();
    if (!rule.keep) {
      auto parsed = quant::parse_recipe(recipe);
      if (!parsed.ok()) return parsed.status().with_context(fmt::format("override \"{}\"", pattern));
      rule.recipe = std::move(parsed).value();
    }
    impl->rules.push_back(std::move(rule));
  }
  return Overrides(std::move(impl));
}

Result<const quant::Recipe*> Overrides::find(std::string_view tensor_name) const {
  for (Rule& rule : impl_->rules) {
    const std::unique_ptr<pcre2_match_data, FreeMatch> data(
        pcre2_match_data_create_from_pattern(rule.code.get(), nullptr));
    const std::unique_ptr<pcre2_match_context, FreeContext> context(pcre2_match_context_create(nullptr));
    if (!data || !context) return Status(Code::out_of_memory, "no memory to match an override");
    // A hostile expression ends here instead of searching for ever.
    pcre2_set_match_limit(context.get(), 1000000);
    const int rc = pcre2_match(rule.code.get(), reinterpret_cast<PCRE2_SPTR>(tensor_name.data()), tensor_name.size(), 0,
                               0, data.get(), context.get());
    if (rc == PCRE2_ERROR_NOMATCH) continue;
    if (rc < 0) {
      return Status(Code::invalid_argument, fmt::format("override \"{}\" cannot be matched against {}: {}",
                                                        rule.pattern, tensor_name, error_text(rc)));
    }
    rule.used = true;
    return rule.keep ? static_cast<const quant::Recipe*>(nullptr) : &rule.recipe;
  }
  return &static_cast<const quant::Recipe&>(impl_->standard);
}

std::vector<std::string> Overrides::unused() const {
  std::vector<std::string> result;
  for (const Rule& rule : impl_->rules)
    if (!rule.used) result.push_back(rule.pattern);
  return result;
}

}  // namespace nbl::pipeline
