#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "quant/method.h"

namespace nbl::quant {

#define NBL_METHOD(function) const Method* function();
#include "quant/methods/methods.inc"
#undef NBL_METHOD

namespace {

struct Alias {
  std::string_view shorthand, name;
};
constexpr std::array<Alias, 5> kAliases{{{"group", "group_size"},
                                         {"block", "block_size"},
                                         {"act_order", "desc_act"},
                                         {"symmetric", "sym"},
                                         {"damp_percent", "damp"}}};

bool has_option(const Method& method, std::string_view name) {
  const auto schema = method.options();
  return std::any_of(schema.begin(), schema.end(), [&](const OptionSpec& spec) { return spec.name == name; });
}

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

}  // namespace

std::span<const Method* const> methods() {
  static const std::vector<const Method*> all = {
#define NBL_METHOD(function) function(),
#include "quant/methods/methods.inc"
#undef NBL_METHOD
  };
  return all;
}

Result<const Method*> find_method(std::string_view id) {
  std::string known;
  for (const Method* method : methods()) {
    if (method->id() == id) return method;
    if (!known.empty()) known += ", ";
    known += method->id();
  }
  return Status(Code::invalid_argument, fmt::format("unknown quantization method \"{}\"; known are: {}", id, known));
}

Result<Recipe> parse_recipe(std::string_view text) {
  const std::string_view whole = trim(text);
  const std::size_t colon = whole.find(':');
  const std::string_view id = trim(whole.substr(0, colon));
  if (id.empty()) return Status(Code::invalid_argument, fmt::format("recipe \"{}\" names no method", text));
  Recipe recipe;
  NBL_ASSIGN(recipe.method, find_method(id));

  std::map<std::string, std::string> values;
  std::string_view rest = colon == std::string_view::npos ? std::string_view{} : whole.substr(colon + 1);
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    const std::string_view pair = trim(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      return Status(Code::invalid_argument,
                    fmt::format("recipe \"{}\": found \"{}\", expected option=value", text, pair));
    }
    std::string_view name = trim(pair.substr(0, equals));
    if (!has_option(*recipe.method, name)) {
      for (const Alias& alias : kAliases) {
        if (alias.shorthand == name) name = alias.name;
      }
    }
    if (!values.emplace(std::string(name), std::string(trim(pair.substr(equals + 1)))).second) {
      return Status(Code::invalid_argument, fmt::format("recipe \"{}\" sets {} twice", text, name));
    }
  }
  NBL_ASSIGN(recipe.options, Options::create(recipe.method->options(), values, id));
  NBL_TRY(recipe.method->check(recipe.options).with_context(fmt::format("recipe \"{}\"", text)));
  // The given options in their full names, in schema order: equal recipes have equal texts.
  recipe.text = std::string(id);
  char separator = ':';
  for (const OptionSpec& spec : recipe.method->options()) {
    if (!values.contains(std::string(spec.name))) continue;
    recipe.text += fmt::format("{}{}={}", separator, spec.name, recipe.options.text(spec.name));
    separator = ',';
  }
  return recipe;
}

}  // namespace nbl::quant
