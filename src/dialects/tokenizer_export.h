// A tokenizer.json for checkpoints that carry their vocabulary as GGUF metadata, so that other tools can use it.
#pragma once

#include <string>

#include "base/json.h"
#include "base/status.h"

namespace nbl::dialects {

struct HfTokenizer {
  std::string json;    ///< tokenizer.json
  std::string config;  ///< tokenizer_config.json
};

/// `metadata`: the tokenizer.* entries of a GGUF file. Code::unsupported for vocabularies that are neither byte-level nor
/// sentencepiece BPE, and for ways to cut text that are not known here.
Result<HfTokenizer> huggingface_tokenizer(const Json& metadata);

/// tokenizer_config.json alone.
std::string huggingface_tokenizer_config(const Json& metadata);

}  // namespace nbl::dialects
