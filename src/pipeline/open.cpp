#include <fmt/format.h>

#include "dialects/dialects.h"
#include "pipeline/pipeline.h"

namespace nbl::pipeline {

Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::filesystem::path& path) { return dialects::open(path); }

Result<std::unique_ptr<text::Tokenizer>> load_tokenizer(const Checkpoint& checkpoint) {
  const std::string& origin = checkpoint.origin();
  if (checkpoint.has_asset("tokenizer.json")) {
    NBL_ASSIGN(const std::string tokenizer, checkpoint.asset("tokenizer.json"));
    std::string config;
    if (checkpoint.has_asset("tokenizer_config.json")) {
      NBL_ASSIGN(config, checkpoint.asset("tokenizer_config.json"));
    }
    return text::load_tokenizer_json(tokenizer, config, fmt::format("tokenizer.json of {}", origin));
  }
  if (checkpoint.has_asset("tokenizer.gguf")) {
    NBL_ASSIGN(const std::string metadata, checkpoint.asset("tokenizer.gguf"));
    NBL_ASSIGN(const Json json, Json::parse(metadata, fmt::format("the tokenizer metadata of {}", origin)));
    return text::load_tokenizer_gguf(json, origin);
  }
  if (checkpoint.has_asset("tokenizer.bin")) {
    NBL_ASSIGN(const std::string bytes, checkpoint.asset("tokenizer.bin"));
    NBL_ASSIGN(const int64_t vocab, checkpoint.config().get_int("vocab_size"));
    return text::load_tokenizer_llama2c(bytes, vocab, fmt::format("tokenizer.bin of {}", origin));
  }
  return Status(Code::not_found, fmt::format("{} carries no tokenizer", origin));
}

}  // namespace nbl::pipeline
