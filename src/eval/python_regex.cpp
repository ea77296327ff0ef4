#include "eval/python_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <cassert>

#include "base/bounds.h"
#include "base/foreign.h"
#include "eval/characters.h"

namespace nbl::eval {
namespace {

struct FreeCode {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
};
struct FreeCompileContext {
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};

constexpr BoundOf<uint32_t> kBacktrackingLimit{Bound::regex_steps};

}  // namespace

struct PythonRegex::Impl {
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::unique_ptr<pcre2_match_context, FreeMatchContext> context;
};

PythonRegex::PythonRegex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PythonRegex::PythonRegex(PythonRegex&&) noexcept = default;
PythonRegex& PythonRegex::operator=(PythonRegex&&) noexcept = default;
PythonRegex::~PythonRegex() = default;

Result<PythonRegex> PythonRegex::compile(std::string_view pattern, bool ignore_case) {
  auto impl = std::make_unique<Impl>();
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  uint32_t flags = PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF;
  if (ignore_case) flags |= PCRE2_CASELESS;
  int error = 0;
  PCRE2_SIZE offset = 0;
  impl->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), flags, &error, &offset,
                                 context.get()));
  if (!impl->code) {
    PCRE2_UCHAR text[256] = {};
    const int length = pcre2_get_error_message(error, text, sizeof(text));
    return Status(Code::invalid_argument,
                  fmt::format("\"{}\" is no regular expression: {} at position {}", pattern,
                              length > 0 ? std::string_view(reinterpret_cast<const char*>(text), static_cast<std::size_t>(length)) : "error", offset));
  }
  impl->context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(impl->context.get(), kBacktrackingLimit);
  return PythonRegex(std::move(impl));
}

PythonRegex PythonRegex::known(std::string_view pattern) {
  auto compiled = compile(pattern);
  assert(compiled.ok() && "a pattern of our own must compile");
  return std::move(compiled).value();
}

std::vector<PythonRegex::Match> PythonRegex::find_all(std::string_view text) const {
  std::vector<Match> matches;
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(pcre2_match_data_create_from_pattern(impl_->code.get(), nullptr));
  if (!data) return matches;
  std::size_t at = 0;
  uint32_t options = 0;
  while (at <= text.size()) {
    const int rc = pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, options,
                               data.get(), impl_->context.get());
    if (rc < 0) {
      if (options == 0 || at >= text.size()) break;
      // No match but the empty one here: go on behind the next character.
      std::size_t bytes = 1;
      code_point(text, at, &bytes);
      at += bytes;
      options = 0;
      continue;
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
    filled_elsewhere(ends, 2 * sizeof *ends * static_cast<std::size_t>(rc));
    Match match;
    match.begin = ends[0];
    match.end = ends[1];
    const uint32_t groups = pcre2_get_ovector_count(data.get());
    for (uint32_t g = 1; g < groups; ++g) {
      const bool took_part = static_cast<int>(g) < rc && ends[2 * g] != PCRE2_UNSET;
      match.groups.emplace_back(took_part ? text.substr(ends[2 * g], ends[2 * g + 1] - ends[2 * g]) : std::string_view{});
    }
    // Python finds an empty match beside the one before it, but never twice at one place.
    options = match.begin == match.end ? PCRE2_NOTEMPTY_ATSTART : 0;
    at = match.end;
    matches.push_back(std::move(match));
  }
  return matches;
}

bool PythonRegex::search(std::string_view text, Match* first) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(pcre2_match_data_create_from_pattern(impl_->code.get(), nullptr));
  if (!data) return false;
  const int rc = pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0, data.get(),
                             impl_->context.get());
  if (rc < 0) return false;
  if (first != nullptr) {
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
    filled_elsewhere(ends, 2 * sizeof *ends * static_cast<std::size_t>(rc));
    first->begin = ends[0];
    first->end = ends[1];
    first->groups.clear();
    for (uint32_t g = 1; g < pcre2_get_ovector_count(data.get()); ++g) {
      const bool took_part = static_cast<int>(g) < rc && ends[2 * g] != PCRE2_UNSET;
      first->groups.emplace_back(took_part ? text.substr(ends[2 * g], ends[2 * g + 1] - ends[2 * g]) : std::string_view{});
    }
  }
  return true;
}

std::string PythonRegex::replace(std::string_view text, std::string_view replacement) const {
  std::string result;
  std::size_t done = 0;
  for (const Match& match : find_all(text)) {
    result += text.substr(done, match.begin - done);
    for (std::size_t i = 0; i < replacement.size(); ++i) {
      const bool reference = replacement[i] == '\\' && i + 1 < replacement.size() && replacement[i + 1] >= '1' && replacement[i + 1] <= '9';
      if (!reference) {
        result += replacement[i];
        continue;
      }
      const std::size_t group = static_cast<std::size_t>(replacement[++i] - '1');
      if (group < match.groups.size()) result += match.groups[group];
    }
    done = match.end;
  }
  result += text.substr(done);
  return result;
}

std::vector<PythonRegex> compile_all(std::initializer_list<std::string_view> patterns) {
  std::vector<PythonRegex> result;
  for (const std::string_view pattern : patterns) result.push_back(PythonRegex::known(pattern));
  return result;
}

}  // namespace nbl::eval
