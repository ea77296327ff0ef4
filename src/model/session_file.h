// Sessions in files.
#pragma once

#include <filesystem>
#include <string>

#include "base/status.h"
#include "model/model.h"

namespace nbl::model {

/// Distinguishes models: SHA-256 of the recipe and of samples of every weight, in hexadecimal. Two files of the same
/// quantized model agree; two quantizations of one model do not.
std::string model_fingerprint(const Model& model);

/// A header (magic, version, fingerprint, kind of cache, counts), the tokens, the keys and values of the positions in use,
/// and a SHA-256 over all of it. All numbers are little-endian. The file appears only when it is whole.
Status save_session(Session& session, const std::filesystem::path& path);
/// Replaces what the session holds. Code::corrupt for a file that is none or is damaged, Code::mismatch for another model or
/// kind of cache, Code::limit when the session has too little room; then the session is what it was.
Status load_session(Session& session, const std::filesystem::path& path);

}  // namespace nbl::model
