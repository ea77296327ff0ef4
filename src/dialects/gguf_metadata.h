// GGUF metadata of a Hugging Face config.json: the inverse of gguf_config().
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "dialects/gguf_arch.h"
#include "io/gguf_writer.h"

namespace nbl::dialects {

/// A small f32 tensor that GGUF keeps beside the weights and a config has in itself: rope factors.
struct GgufExtra {
  std::string name;
  std::vector<float> values;
};

/// Sets general.architecture and all keys of the architecture. Code::unsupported when the config has something that
/// GGUF cannot say.
Status gguf_model_metadata(const Json& config, const GgufArch& arch, io::GgufMetadata& metadata,
                           std::vector<GgufExtra>& extras);

}  // namespace nbl::dialects
