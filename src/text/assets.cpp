#include "text/assets.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/bounds.h"
#include "base/file.h"
#include "io/container.h"
#include "text/gguf_document.h"

namespace nbl::text {
namespace {

namespace fs = std::filesystem;

constexpr BoundOf<int64_t> kMaxAsset{Bound::tokenizer_bytes};
constexpr std::array<std::string_view, 5> kFiles = {"tokenizer.json", "tokenizer.model", "tokenizer_config.json",
                                                    "special_tokens_map.json", "chat_template.jinja"};

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

constexpr std::size_t kMaxTemplates = 256;

/// The files of the folder of further templates, sorted.
std::vector<fs::path> template_files(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code error;
  for (auto it = fs::directory_iterator(directory / "additional_chat_templates", error);
       !error && it != fs::directory_iterator() && files.size() <= kMaxTemplates; it.increment(error)) {
    if (it->path().extension() == ".jinja" && is_file(it->path())) files.push_back(it->path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

Assets assets_in_directory(const fs::path& directory) {
  Assets assets;
  assets.origin = directory.string();
  assets.has = [directory](std::string_view name) {
    const bool known = std::find(kFiles.begin(), kFiles.end(), name) != kFiles.end() || name == "chat_template.json";
    return name == kAdditionalTemplates ? has_additional_templates(directory) : known && is_file(directory / name);
  };
  assets.get = [directory](std::string_view name) {
    return name == kAdditionalTemplates ? read_additional_templates(directory) : read_text_file(directory / name, kMaxAsset);
  };
  return assets;
}

Assets assets_in_map(std::string origin, std::map<std::string, std::string, std::less<>> files) {
  Assets assets;
  assets.origin = std::move(origin);
  auto shared = std::make_shared<const std::map<std::string, std::string, std::less<>>>(std::move(files));
  assets.has = [shared](std::string_view name) { return shared->contains(name); };
  assets.get = [shared](std::string_view name) -> Result<std::string> { return shared->find(name)->second; };
  return assets;
}

Result<Json> read_json(const Assets& assets, std::string_view name) {
  NBL_ASSIGN(const std::string text, assets.get(name));
  return Json::parse(text, fmt::format("{} of {}", name, assets.origin));
}

Result<JsonDocument> read_gguf(const Assets& assets) {
  NBL_ASSIGN(const std::string text, assets.get("tokenizer.gguf"));
  return JsonDocument::parse(text, fmt::format("tokenizer.gguf of {}", assets.origin), kGgufTables);
}

/// A token's stored text by id, where the metadata of a GGUF file names one.
void read_gguf_specials(const JsonDocument& document, ChatTemplates* out) {
  const Json& metadata = document.value();
  const std::size_t count = document.size(kGgufTokens);
  if (count == 0) return;
  for (const auto& [key, name] :
       {std::pair{"bos", "bos_token"}, std::pair{"eos", "eos_token"}, std::pair{"unknown", "unk_token"},
        std::pair{"padding", "pad_token"}, std::pair{"seperator", "sep_token"}, std::pair{"cls", "cls_token"},
        std::pair{"mask", "mask_token"}}) {
    const Json* id = metadata.find_value(fmt::format("tokenizer.ggml.{}_token_id", key));
    if (id == nullptr || id->as_int(-1) < 0 || static_cast<std::size_t>(id->as_int()) >= count) continue;
    out->set_special(name, std::string(document.element(kGgufTokens, static_cast<std::size_t>(id->as_int())).as_string()));
  }
  constexpr std::string_view kNamed = "tokenizer.chat_template.";
  for (const auto& [key, value] : metadata.members()) {
    if (key.starts_with(kNamed) && value.is_string())
      out->add(key.substr(kNamed.size()), std::string(value.as_string()));
  }
  if (const Json* main = metadata.find_value("tokenizer.chat_template")) {
    out->add("default", std::string(main->as_string()));
  }
}

}  // namespace

bool has_additional_templates(const fs::path& directory) { return !template_files(directory).empty(); }

Result<std::string> read_additional_templates(const fs::path& directory) {
  const std::vector<fs::path> files = template_files(directory);
  if (files.size() > kMaxTemplates) {
    return Status(Code::limit, fmt::format("{}: more than {} chat templates",
                                           (directory / "additional_chat_templates").string(), kMaxTemplates));
  }
  Json all = Json::object();
  for (const fs::path& file : files) {
    NBL_ASSIGN(std::string source, read_text_file(file, kMaxAsset));
    all.set(file.stem().string(), std::move(source));
  }
  return all.dump();
}

Assets assets_of(const Checkpoint& checkpoint) {
  Assets assets;
  assets.origin = checkpoint.origin();
  const Json* vocab = checkpoint.config().find_value("vocab_size");
  assets.vocab_size = vocab == nullptr ? 0 : vocab->as_int();
  assets.has = [&checkpoint](std::string_view name) { return checkpoint.has_asset(name); };
  assets.get = [&checkpoint](std::string_view name) { return checkpoint.asset(name); };
  return assets;
}

Result<Assets> assets_at(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    Assets assets = assets_in_directory(path);
    if (std::any_of(kFiles.begin(), kFiles.end(), assets.has)) return assets;
    return Status(Code::not_found, fmt::format("{}: no tokenizer.json and no tokenizer.model", path.string()));
  }
  if (!is_file(path)) return Status(Code::not_found, fmt::format("{}: no such file or directory", path.string()));
  if (auto gguf = io::open_gguf(path); gguf.ok()) {
    Json metadata = Json::object();
    for (const auto& [key, value] : (*gguf)->metadata().members()) {
      if (key.starts_with("tokenizer.")) metadata.set(key, value);
    }
    return assets_in_map(path.string(), {{"tokenizer.gguf", metadata.dump()}});
  }
  if (path.extension() != ".json" && path.extension() != ".model") {
    return Status(Code::not_found, fmt::format("{}: no vocabulary that is known here", path.string()));
  }
  NBL_ASSIGN(std::string text, read_text_file(path, kMaxAsset));
  return assets_in_map(path.string(),
                       {{path.extension() == ".model" ? "tokenizer.model" : "tokenizer.json", std::move(text)}});
}

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const Assets& assets) {
  std::string config;
  if (assets.has("tokenizer_config.json")) {
    NBL_ASSIGN(config, assets.get("tokenizer_config.json"));
  }
  if (assets.has("tokenizer.json")) {
    NBL_ASSIGN(const std::string tokenizer, assets.get("tokenizer.json"));
    return load_tokenizer_json(tokenizer, config, fmt::format("tokenizer.json of {}", assets.origin));
  }
  if (assets.has("tokenizer.gguf")) {
    NBL_ASSIGN(const JsonDocument metadata, read_gguf(assets));
    return load_tokenizer_gguf(metadata, assets.origin);
  }
  if (assets.has("tokenizer.model")) {
    NBL_ASSIGN(const std::string bytes, assets.get("tokenizer.model"));
    return load_tokenizer_sentencepiece(bytes, config, fmt::format("tokenizer.model of {}", assets.origin));
  }
  if (assets.has("tokenizer.bin")) {
    NBL_ASSIGN(const std::string bytes, assets.get("tokenizer.bin"));
    return load_tokenizer_llama2c(bytes, assets.vocab_size, fmt::format("tokenizer.bin of {}", assets.origin));
  }
  return Status(Code::not_found, fmt::format("{} carries no tokenizer", assets.origin));
}

Result<std::shared_ptr<const ChatTemplates>> load_chat_templates(const Assets& assets, const Tokenizer* tokenizer) {
  auto out = std::make_shared<ChatTemplates>();
  out->set_origin(fmt::format("the chat template of {}", assets.origin));
  if (tokenizer != nullptr) {
    for (const auto& [name, id] :
         {std::pair{"bos_token", tokenizer->bos()}, std::pair{"eos_token", tokenizer->eos()}}) {
      if (!id) continue;
      NBL_ASSIGN(std::string piece, tokenizer->piece(*id));
      out->set_special(name, std::move(piece));
    }
  }
  if (assets.has("tokenizer.gguf")) {
    NBL_ASSIGN(const JsonDocument metadata, read_gguf(assets));
    read_gguf_specials(metadata, out.get());
  }
  for (const std::string_view name : {"special_tokens_map.json", "tokenizer_config.json", "chat_template.json"}) {
    if (!assets.has(name)) continue;
    NBL_ASSIGN(const Json config, read_json(assets, name));
    const Status read = read_chat_config(config, out.get());
    if (!read.ok()) return read.with_context(fmt::format("{} of {}: chat_template", name, assets.origin));
  }
  if (assets.has(kAdditionalTemplates)) {
    NBL_ASSIGN(const Json more, read_json(assets, kAdditionalTemplates));
    for (const auto& [name, source] : more.members()) {
      if (source.is_string()) out->add(name, std::string(source.as_string()));
    }
  }
  // The file of its own overrides what the configuration says.
  if (assets.has("chat_template.jinja")) {
    NBL_ASSIGN(std::string source, assets.get("chat_template.jinja"));
    out->add("default", std::move(source));
  }
  return std::shared_ptr<const ChatTemplates>(std::move(out));
}

}  // namespace nbl::text
