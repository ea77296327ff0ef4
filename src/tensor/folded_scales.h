// What moved scales between the weights of a model: an adapter that was trained on the original no longer fits such weights.
#pragma once

#include <string>

#include "base/json.h"

namespace nbl {

/// "awq", "smoothquant" or "a rotation", as far as a manifest tells; empty: nothing.
std::string folding_of_manifest(const Json& manifest);
/// The same of a config.json: what nibble's writers noted there ("nibble": {"folded": ...}), or a quantization that always does it.
std::string folding_of_config(const Json& config);
/// Notes in a config.json what it or the manifest says was folded.
void note_folding(Json& config, const Json& manifest);

}  // namespace nbl
