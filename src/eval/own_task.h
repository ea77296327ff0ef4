// Tasks that users write: lm-evaluation-harness's task files, or the part of them that docs/evaluation.md lists, in YAML or JSON.
#pragma once

#include <string_view>

#include "base/status.h"
#include "eval/task.h"

namespace nbl::eval {

/// `source` names the definition in messages; where it is a path, files of the task lie relative to its folder.
/// unsupported: a key, metric, filter or function outside the subset, named.
Result<Task> parse_task(std::string_view definition, std::string_view source);

}  // namespace nbl::eval
