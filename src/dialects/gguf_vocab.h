// The tokenizer of a model as GGUF metadata, from whatever form the checkpoint carries it in.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "io/gguf_writer.h"

namespace nbl::dialects {

using Assets = std::map<std::string, std::string, std::less<>>;

/// Sets tokenizer.*: from tokenizer.gguf, tokenizer.json, tokenizer.model or tokenizer.bin, whichever comes first;
/// nothing when there is none. The vocabulary is filled up to `rows`, the rows of the embedding. Code::unsupported when
/// GGUF has no name for the way the text is cut.
Status gguf_vocabulary(const Assets& assets, const Json& config, int64_t rows, io::GgufMetadata& metadata);

}  // namespace nbl::dialects
