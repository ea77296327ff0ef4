#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "quant/method.h"

namespace nbl::quant {
namespace {

std::string known_names(std::span<const OptionSpec> schema) {
  std::string names;
  for (const OptionSpec& spec : schema) {
    if (!names.empty()) names += ", ";
    names += spec.name;
  }
  return names.empty() ? "none" : names;
}

bool parse_integer(std::string_view text, int64_t* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size();
}

bool parse_real(std::string_view text, double* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(*out);
}

bool parse_boolean(std::string_view text, bool* out) {
  if (text == "true" || text == "1" || text == "yes" || text == "on") return *out = true, true;
  if (text == "false" || text == "0" || text == "no" || text == "off") return *out = false, true;
  return false;
}

/// The value in its one spelling, or an error that says what would have been right.
Result<std::string> normalize(const OptionSpec& spec, const std::string& value, std::string_view method) {
  const auto refuse = [&](std::string expected) {
    return Status(Code::invalid_argument,
                  fmt::format("{}.{} is \"{}\", expected {}", method, spec.name, value, expected));
  };
  std::string words;  // that may stand in place of a number or a truth value
  if (spec.type != OptionSpec::Type::choice && spec.type != OptionSpec::Type::text) {
    for (const std::string_view word : spec.choices) {
      if (value == word) return value;
      words += fmt::format(" or {}", word);
    }
  }
  switch (spec.type) {
    case OptionSpec::Type::integer: {
      int64_t number = 0;
      if (!parse_integer(value, &number) || static_cast<double>(number) < spec.min ||
          static_cast<double>(number) > spec.max) {
        return refuse(fmt::format("an integer from {} to {}{}", static_cast<int64_t>(spec.min),
                                  static_cast<int64_t>(spec.max), words));
      }
      return fmt::format("{}", number);
    }
    case OptionSpec::Type::real: {
      double number = 0;
      if (!parse_real(value, &number) || number < spec.min || number > spec.max) {
        return refuse(fmt::format("a number from {} to {}{}", spec.min, spec.max, words));
      }
      return fmt::format("{}", number);
    }
    case OptionSpec::Type::boolean: {
      bool flag = false;
      if (!parse_boolean(value, &flag)) return refuse("true or false" + words);
      return std::string(flag ? "true" : "false");
    }
    case OptionSpec::Type::choice: {
      std::string allowed;
      for (std::string_view choice : spec.choices) {
        // Names of block types are written in either case elsewhere.
        if (std::equal(value.begin(), value.end(), choice.begin(), choice.end(),
                       [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); }))
          return std::string(choice);
        if (!allowed.empty()) allowed += ", ";
        allowed += choice;
      }
      return refuse("one of " + allowed);
    }
    case OptionSpec::Type::text:
      return value;
  }
  return Status(Code::internal, "unknown option type");
}

}  // namespace

Result<Options> Options::create(std::span<const OptionSpec> schema, const std::map<std::string, std::string>& values,
                                std::string_view method) {
  for (const auto& [name, value] : values) {
    bool known = false;
    for (const OptionSpec& spec : schema) known = known || spec.name == name;
    if (!known) {
      return Status(Code::invalid_argument, fmt::format("{} has no option \"{}\"; its options are: {}", method, name,
                                                        known_names(schema)));
    }
  }
  Options options;
  for (const OptionSpec& spec : schema) {
    const std::string name(spec.name);
    const auto given = values.find(name);
    NBL_ASSIGN(std::string value,
               normalize(spec, given == values.end() ? std::string(spec.fallback) : given->second, method));
    options.values_.emplace(name, std::move(value));
  }
  return options;
}

// The getters are asked only for names of the schema, whose values create() has checked.
int64_t Options::integer(std::string_view name) const {
  int64_t number = 0;
  parse_integer(text(name), &number);
  return number;
}

double Options::real(std::string_view name) const {
  double number = 0;
  parse_real(text(name), &number);
  return number;
}

bool Options::boolean(std::string_view name) const { return text(name) == "true"; }

const std::string& Options::text(std::string_view name) const {
  static const std::string empty;
  const auto found = values_.find(std::string(name));
  return found == values_.end() ? empty : found->second;
}

}  // namespace nbl::quant
