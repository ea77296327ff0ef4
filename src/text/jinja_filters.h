// Filters and tests, by name.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "text/jinja_evaluator.h"

namespace nbl::text::jinja {

struct Filter {
  std::string_view name, signature;  ///< as in Builtin
  Result<Value> (*run)(Evaluator& evaluator, const Value& value, const Bound& bound, const CallArguments& arguments);
};

struct Test {
  std::string_view name, signature;
  Result<bool> (*run)(Evaluator& evaluator, const Value& value, const Bound& bound, const CallArguments& arguments);
};

/// The one of that name in a list of filters or tests, or null.
template <class T, std::size_t N>
const T* find_named(const std::array<T, N>& list, std::string_view name) noexcept {
  const auto found = std::find_if(list.begin(), list.end(), [&](const T& each) { return each.name == name; });
  return found == list.end() ? nullptr : &*found;
}

const Filter* find_filter(std::string_view name) noexcept;
/// Why there is no filter of that name.
std::string no_filter(std::string_view name);
const Test* find_test(std::string_view name) noexcept;

// Parts of find_filter().
const Filter* find_text_filter(std::string_view name) noexcept;
const Filter* find_sequence_filter(std::string_view name) noexcept;
const Filter* find_layout_filter(std::string_view name) noexcept;
const Filter* find_markup_filter(std::string_view name) noexcept;

/// HTML's own characters as references.
std::string escaped(std::string_view text);

}  // namespace nbl::text::jinja
