// Where a model's texts come from: a checkpoint, or a place that has a vocabulary and no weights.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "tensor/checkpoint.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace nbl::text {

/// Files by the names that Checkpoint::asset() knows. Valid as long as what it was made of.
struct Assets {
  std::string origin;
  int64_t vocab_size = 0;  ///< of the model, for vocabularies that do not say; 0: unknown
  std::function<bool(std::string_view)> has;
  std::function<Result<std::string>(std::string_view)> get;
};

/// The asset that holds the chat templates beside the main one: a JSON object of sources by name. In a directory they are files of a
/// folder, additional_chat_templates/NAME.jinja.
inline constexpr std::string_view kAdditionalTemplates = "additional_chat_templates.json";
/// Whether a model's directory has such files, and that asset made of them. Code::limit when there are more than 256.
bool has_additional_templates(const std::filesystem::path& directory);
Result<std::string> read_additional_templates(const std::filesystem::path& directory);

Assets assets_of(const Checkpoint& checkpoint);
/// A directory with tokenizer.json, tokenizer.model or tokenizer_config.json, one of these files itself, or a GGUF file
/// of any architecture, with weights or without. Code::not_found for anything else.
Result<Assets> assets_at(const std::filesystem::path& path);

/// Whatever tokenizer there is, in whatever form; not_found when there is none.
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const Assets& assets);
/// The chat templates and the special tokens' texts. Empty when there are none, which is no error. `tokenizer` (may be
/// null) names the special tokens that the files give as ids only.
Result<std::shared_ptr<const ChatTemplates>> load_chat_templates(const Assets& assets, const Tokenizer* tokenizer);

}  // namespace nbl::text
