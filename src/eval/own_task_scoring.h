// How a task file reads the answers out of what a model wrote, and what it measures: filter_list, metric_list.
#pragma once

#include <functional>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "eval/task.h"

namespace nbl::eval {

/// Sets task->filters from the definition. unsupported: a function outside the subset, or an order of them that the harness would
/// read otherwise than one text at a time.
Status set_filters(const Json& definition, const std::string& source, Task* task);

/// Sets task->metrics, and task->judge for generated texts; `references` gives a document's right answers.
Status set_metrics(const Json& definition, const std::string& source, std::function<std::vector<std::string>(Fields&)> references, Task* task);

/// A refusal that names what is not in the subset.
Status outside_subset(const std::string& source, const std::string& what);

}  // namespace nbl::eval
