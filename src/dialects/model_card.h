// The README.md of an exported model.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace nbl::dialects {

/// The value of a key in the YAML block that a model card begins with; empty when there is none.
std::string card_value(std::string_view text, std::string_view key);

/// A model card: the original's licence line carried over, the recipe and everything else that the manifest says.
/// The manifest's "measured" is a result of perplexity, compare, eval or sweep as their JSON has it, or an array of them.
/// `original` is the README.md that came with the model, or empty.
std::string model_card(std::string_view name, std::string_view format, const Json& manifest, std::string_view original);

}  // namespace nbl::dialects
