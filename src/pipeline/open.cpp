#include "dialects/dialects.h"
#include "pipeline/pipeline.h"
#include "text/assets.h"

namespace nbl::pipeline {

Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::filesystem::path& path) { return dialects::open(path); }

Result<std::unique_ptr<text::Tokenizer>> load_tokenizer(const Checkpoint& checkpoint) {
  return text::load_tokenizer(text::assets_of(checkpoint));
}

}  // namespace nbl::pipeline
