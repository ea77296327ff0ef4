// From what a user names to the tasks that are run.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "eval/evaluate.h"

namespace nbl::eval {
namespace {

bool matches(std::string_view pattern, std::string_view name) {
  const std::size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  if (!name.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (std::size_t at = star; at <= name.size(); ++at)
    if (matches(rest, name.substr(at))) return true;
  return false;
}

void expand_group(const TaskGroup& group, Selection& selection, std::vector<std::string>& names) {
  if (std::find(selection.groups.begin(), selection.groups.end(), &group) == selection.groups.end())
    selection.groups.push_back(&group);
  for (const std::string& member : group.members) {
    const TaskGroup* inner = find_task_group(member);
    if (inner != nullptr) {
      expand_group(*inner, selection, names);
    } else {
      names.push_back(member);
    }
  }
}

}  // namespace

Result<Selection> select_tasks(std::string_view names, const EvaluateOptions& options) {
  Selection selection;
  std::vector<const Task*>& chosen = selection.tasks;
  std::set<std::string_view> seen;
  const auto add = [&](const Task* task) {
    if (seen.insert(task->id).second) chosen.push_back(task);
  };
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find(','));
    names.remove_prefix(std::min(names.size(), name.size() + 1));
    if (name.empty()) continue;
    const std::size_t before = chosen.size();
    bool found = false;
    for (const Task& task : options.own_tasks) {
      if (!matches(name, task.id)) continue;
      add(&task);
      found = true;
    }
    for (const Task* task : tasks()) {
      const bool tagged = std::find(task->tags.begin(), task->tags.end(), name) != task->tags.end();
      if (!matches(name, task->id) && !tagged) continue;
      add(task);
      found = true;
    }
    for (const TaskGroup* group : task_groups()) {
      if (!matches(name, group->id)) continue;
      std::vector<std::string> members;
      expand_group(*group, selection, members);
      for (const std::string& member : members) add(find_task(member));
      found = true;
    }
    if (!found && chosen.size() == before) {
      std::string known;
      for (const Task* task : tasks())
        if (!task->id.starts_with("mmlu_")) known += (known.empty() ? "" : ", ") + task->id;
      for (const TaskGroup* group : task_groups()) known += ", " + group->id;
      return Status(Code::not_found, fmt::format("there is no task \"{}\"; known are: {}", name, known));
    }
  }
  if (chosen.empty()) return Status(Code::invalid_argument, "no task was named");
  return selection;
}

}  // namespace nbl::eval
