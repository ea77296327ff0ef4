// Filters and tests, by name.
#pragma once

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

const Filter* find_filter(std::string_view name) noexcept;
const Test* find_test(std::string_view name) noexcept;

// Parts of find_filter().
const Filter* find_text_filter(std::string_view name) noexcept;
const Filter* find_sequence_filter(std::string_view name) noexcept;

}  // namespace nbl::text::jinja
