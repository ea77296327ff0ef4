// What a file in this folder adds its tasks to, and helpers that several of them use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eval/task.h"

namespace nbl::eval {

struct TaskList {
  std::vector<Task> tasks;
  std::vector<TaskGroup> groups;
};

#define NBL_TASKS(function) void function(TaskList& list);
#include "eval/tasks/tasks.inc"
#undef NBL_TASKS

Metric mean_of(std::string_view name, bool higher_is_better = true);
std::string stripped(std::string_view text);  ///< str.strip()
std::string replaced(std::string_view text, std::string_view from, std::string_view to);
/// " ".join(text.split())
std::string squeezed(std::string_view text);
/// The place of `value` in `values`; an error in `fields` when it is not there.
int64_t index_of(Fields& fields, const std::vector<std::string>& values, std::string_view value);
/// A record made of some strings.
Json strings(std::initializer_list<std::pair<std::string_view, std::string>> members);
Json string_array(const std::vector<std::string>& values);

}  // namespace nbl::eval
