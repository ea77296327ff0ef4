// The YAML that task files are written in: mappings, sequences, scalars, comments. No anchors, tags, documents or merge keys:
// each of these is an error that says so.
#pragma once

#include <string_view>

#include "base/json.h"
#include "base/status.h"

namespace nbl::eval {

/// Code::corrupt for what is no such text, Code::unsupported for YAML outside the subset; both name the line. A tag
/// ("!function utils.f") is unsupported.
Result<Json> parse_yaml(std::string_view text, std::string_view origin);

}  // namespace nbl::eval
