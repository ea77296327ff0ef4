// Generation options as named texts: what the C interface, Python and the command line set.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

/// What settings are about.
struct Vocabulary {
  int64_t size = 0;                            ///< logits in a row
  const text::Tokenizer* tokenizer = nullptr;  ///< null: none
  std::function<std::shared_ptr<const TokenTrie>()> trie;  ///< of the tokenizer; asked for when a grammar needs it
  std::vector<text::TokenId> ends;             ///< tokens that may stand where a text may end
};

/// The options that the settings describe. `cache` keeps the grammar for the next time.
Result<GenerateOptions> make_generate_options(const GenerationSettings& settings, const Vocabulary& vocabulary,
                                              GrammarCache& cache);
/// The same over a model's vocabulary.
Result<GenerateOptions> make_generate_options(const GenerationSettings& settings, const Model& model,
                                              GrammarCache& cache);

/// "1,2,3" or a JSON array of integers. Code::invalid_argument names the setting.
Result<std::vector<text::TokenId>> parse_token_ids(std::string_view name, const std::string& value);
/// Code::invalid_argument, naming the setting, when one of them is not from 0 to vocab - 1.
Status check_token_ids(std::string_view name, std::span<const text::TokenId> ids, int64_t vocab);

/// A list of texts: a JSON array of strings, or any other text as the only one.
Result<std::vector<std::string>> parse_text_list(std::string_view name, const std::string& value);

}  // namespace nbl::model
