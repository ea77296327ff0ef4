// A Hugging Face config.json from GGUF metadata.
#pragma once

#include "base/json.h"
#include "base/status.h"
#include "dialects/gguf_arch.h"
#include "io/container.h"

namespace nbl::dialects {

/// Shapes and counts are bounded and made to agree with one another; what only the tensors say (vocabulary, tying, rope
/// divisors) is read from them.
Result<Json> gguf_config(const io::Container& container, const GgufArch& arch);

/// The tokenizer.* entries.
Json gguf_tokenizer(const Json& metadata);

}  // namespace nbl::dialects
