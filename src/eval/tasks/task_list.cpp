#include "eval/tasks/task_list.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/characters.h"

namespace nbl::eval {
namespace {

const TaskList& all() {
  static const TaskList list = [] {
    TaskList built;
#define NBL_TASKS(function) function(built);
#include "eval/tasks/tasks.inc"
#undef NBL_TASKS
    return built;
  }();
  return list;
}

template <class T>
std::vector<const T*> pointers(const std::vector<T>& values) {
  std::vector<const T*> result;
  result.reserve(std::size(values));
  for (const T& v : values) result.push_back(&v);
  return result;
}

template <class T>
const T* by_id(const std::vector<T>& values, std::string_view id) {
  const auto it = std::find_if(values.begin(), values.end(), [&](const T& v) { return v.id == id; });
  return it == values.end() ? nullptr : &*it;
}

}  // namespace

std::span<const Task* const> tasks() {
  static const std::vector<const Task*> list = pointers(all().tasks);
  return list;
}
std::span<const TaskGroup* const> task_groups() {
  static const std::vector<const TaskGroup*> list = pointers(all().groups);
  return list;
}
const Task* find_task(std::string_view id) { return by_id(all().tasks, id); }
const TaskGroup* find_task_group(std::string_view id) { return by_id(all().groups, id); }

Metric mean_of(std::string_view name, bool higher_is_better) { return {std::string(name), &kMean, higher_is_better}; }

std::string stripped(std::string_view text) {
  std::size_t begin = 0, bytes = 1;
  while (begin < text.size() && is_space(code_point(text, begin, &bytes))) begin += bytes;
  text.remove_prefix(begin);
  return std::string(text.substr(0, rstripped(text)));
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (;;) {
    const std::size_t at = text.find(from);
    result += text.substr(0, at);
    if (at == std::string_view::npos) return result;
    result += to;
    text.remove_prefix(at + from.size());
  }
}

std::string squeezed(std::string_view text) {
  std::string result;
  bool pending = false;
  std::size_t bytes = 1;
  for (std::size_t at = 0; at < text.size(); at += bytes) {
    if (is_space(code_point(text, at, &bytes))) {
      pending = !result.empty();
    } else {
      if (pending) result += ' ';
      pending = false;
      result += text.substr(at, bytes);
    }
  }
  return result;
}

int64_t index_of(Fields& fields, const std::vector<std::string>& values, std::string_view value) {
  const auto it = std::find(values.begin(), values.end(), value);
  if (it == values.end()) {
    fields.fail(fmt::format("the answer \"{}\" is not among the choices", value));
    return 0;
  }
  return it - values.begin();
}

Json strings(std::initializer_list<std::pair<std::string_view, std::string>> members) {
  Json record = Json::object();
  for (const auto& [key, value] : members) record.set(key, value);
  return record;
}

Json string_array(const std::vector<std::string>& values) {
  Json array = Json::array();
  for (const std::string& value : values) array.push_back(value);
  return array;
}

}  // namespace nbl::eval
