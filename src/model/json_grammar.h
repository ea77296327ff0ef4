// Pieces of JSON as grammar nodes: characters of strings, regular expressions over them, numbers within bounds.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "model/grammar.h"

namespace nbl::model {

/// One character of a JSON string that stands for one of `set`: itself, or escaped where JSON wants that.
GrammarBuilder::Node json_character(GrammarBuilder& b, const GrammarBuilder::CodePoints& set);
/// Any one character, in any spelling.
GrammarBuilder::Node any_json_character(GrammarBuilder& b);

/// What stands between the quotes of a JSON string that a regular expression matches (anywhere, unless it is anchored, as
/// ECMA-262 and JSON Schema have it) and that has min_length to max_length characters (max < 0: any number).
/// Code::unsupported for lookaround, backreferences, word boundaries and the like.
Result<GrammarBuilder::Node> json_pattern(GrammarBuilder& b, std::string_view pattern, int64_t min_length,
                                          int64_t max_length);
/// The pattern of a format ("date", "uuid", ...), or null.
const char* format_pattern(std::string_view format);

/// A bound of a number.
struct Bound {
  double value = 0;
  bool exclusive = false;
};
/// Numbers between the bounds, written without exponent; integers, or with a fraction. `step` above 1: the integers that it divides.
/// Code::unsupported for bounds from 1e14 on and for those below 1e-23.
Result<GrammarBuilder::Node> json_number_range(GrammarBuilder& b, std::optional<Bound> low, std::optional<Bound> high,
                                               bool integer, int64_t step = 1);

}  // namespace nbl::model
