// Generation options as named texts: what the C interface, Python and the command line set.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "model/generation.h"
#include "quant/method.h"

namespace nbl::model {

/// Name, type, bounds, default and help of every setting.
std::span<const quant::OptionSpec> generation_settings();

using GenerationSettings = std::map<std::string, std::string>;  ///< those that were set

/// Checks one setting and keeps it; an empty value takes it back to its default.
/// Code::invalid_argument names the setting, the value and what is allowed.
Status set_generation_setting(GenerationSettings& settings, const std::string& name, const std::string& value);

/// A grammar that was compiled before, with the texts it was made of.
struct GrammarCache {
  std::string gbnf, schema;
  std::shared_ptr<GrammarEngine> engine;
};

/// The options that the settings describe. `cache` keeps the grammar for the next time.
Result<GenerateOptions> make_generate_options(const GenerationSettings& settings, const Model& model,
                                              GrammarCache& cache);

/// A list of texts: a JSON array of strings, or any other text as the only one.
Result<std::vector<std::string>> parse_text_list(std::string_view name, const std::string& value);

}  // namespace nbl::model
