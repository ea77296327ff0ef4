// Filters on lists and mappings.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_set>

#include "text/jinja_case.h"
#include "text/jinja_filters.h"

namespace nbl::text::jinja {
namespace {

using Args = const CallArguments&;

Result<Value> length(Evaluator& e, const Value& v, const Bound&, Args) {
  const auto number = [](std::size_t n) { return Value(static_cast<int64_t>(n)); };
  if (v.is_string()) {
    NBL_TRY(e.spend(static_cast<int64_t>(v.string().size() / 64)));
    return number(count_chars(v.string()));
  }
  if (v.is(Kind::list) && v.list().kind != ListKind::lazy) return number(v.list().items.size());
  if (v.is(Kind::dict)) return number(v.dict().items.size());
  if (v.is_undefined() && !e.options().strict_undefined) return number(0);
  if (v.is_undefined()) return Status(Code::corrupt, std::string(v.why()));
  return Status(Code::corrupt, fmt::format("object of type '{}' has no len()", type_name(v)));
}

Result<Value> first(Evaluator& e, const Value& v, const Bound&, Args) {
  NBL_ASSIGN(const std::vector<Value> items, e.elements(v));
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Result<Value> last(Evaluator& e, const Value& v, const Bound&, Args) {
  NBL_ASSIGN(const std::vector<Value> items, e.elements(v));
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Result<Value> list_of(Evaluator& e, const Value& v, const Bound&, Args) {
  NBL_ASSIGN(std::vector<Value> items, e.elements(v));
  return e.list(std::move(items));
}

Result<Value> reverse(Evaluator& e, const Value& v, const Bound&, Args) {
  NBL_ASSIGN(std::vector<Value> items, e.elements(v));
  std::reverse(items.begin(), items.end());
  if (!v.is_string()) return e.list(std::move(items), ListKind::lazy);
  std::string out;
  for (const Value& item : items) out += item.string();
  return e.string(std::move(out));
}

Result<Value> join(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const std::vector<Value> items, e.elements(v));
  Value separator = make_string("");
  if (bound[0] != nullptr) {
    NBL_ASSIGN(separator, e.text_of(*bound[0]));
  }
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    Value item = items[i];
    if (bound[1] != nullptr && !bound[1]->is(Kind::none)) {
      NBL_ASSIGN(item, e.item_path(item, *bound[1]));
    }
    NBL_ASSIGN(const Value text, e.text_of(item));
    NBL_TRY(e.move_bytes(text.string().size() + separator.string().size()));
    if (i > 0) out += separator.string();
    out += text.string();
  }
  return Value(std::move(out));
}

Result<Value> items_of(Evaluator& e, const Value& v, const Bound&, Args) {
  if (v.is_undefined()) return e.list({}, ListKind::lazy);
  if (!v.is(Kind::dict)) return Status(Code::corrupt, "Can only get item pairs from a mapping.");
  NBL_ASSIGN(const Value pairs, e.call(find_method(v, "items"), {}));
  return e.list(pairs.list().items, ListKind::lazy);
}

/// What a value is ordered by: itself, an attribute, lower case unless case counts.
Result<Value> sort_key(Evaluator& e, const Value& item, const Value* attribute, bool case_sensitive) {
  Value key = item;
  if (attribute != nullptr && !attribute->is(Kind::none)) {
    NBL_ASSIGN(key, e.item_path(item, *attribute));
  }
  if (case_sensitive || !key.is_string()) return key;
  NBL_TRY(e.move_bytes(key.string().size()));
  return Value(lower(key.string()));
}

/// Sorts items by their keys, stably. Fails where Python cannot order them.
Status sort_by_keys(Evaluator& e, std::vector<std::pair<Value, Value>>& keyed, bool descending) {
  Status trouble;
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    if (!trouble.ok()) return false;
    trouble = e.spend(1 + std::min(weight_of(a.first), weight_of(b.first)) / 64);
    if (!trouble.ok()) return false;
    const Result<int> order = compare(a.first, b.first);
    if (!order.ok()) {
      trouble = order.status();
      return false;
    }
    return descending ? *order > 0 : *order < 0;
  });
  return trouble;
}

Result<Value> sort(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(std::vector<Value> items, e.elements(v));
  const bool descending = bound.flag(0, false), case_sensitive = bound.flag(1, false);
  std::vector<Value> attributes;  // "a,b" sorts by a, then by b
  if (bound[2] != nullptr && bound[2]->is_string()) {
    NBL_ASSIGN(const Value parts, e.call(find_method(*bound[2], "split"), {{make_string(",")}, {}}));
    attributes = parts.list().items;
  } else if (bound[2] != nullptr && !bound[2]->is(Kind::none)) {
    attributes = {*bound[2]};
  }
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    std::vector<Value> keys;
    if (attributes.empty()) {
      NBL_ASSIGN(Value key, sort_key(e, item, nullptr, case_sensitive));
      keys.push_back(std::move(key));
    }
    for (const Value& attribute : attributes) {
      NBL_ASSIGN(Value key, sort_key(e, item, &attribute, case_sensitive));
      keys.push_back(std::move(key));
    }
    Value key = keys.size() == 1 ? keys[0] : make_list(keys);
    keyed.emplace_back(std::move(key), std::move(item));
  }
  NBL_TRY(sort_by_keys(e, keyed, descending));
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = std::move(keyed[i].second);
  return e.list(std::move(items));
}

Result<Value> dictsort(Evaluator& e, const Value& v, const Bound& bound, Args) {
  if (!v.is(Kind::dict))
    return Status(Code::corrupt, fmt::format("dictsort() needs a mapping, not '{}'", type_name(v)));
  const bool case_sensitive = bound.flag(0, false), descending = bound.flag(2, false);
  NBL_ASSIGN(const std::string by, bound.string(1, "key"));
  if (by != "key" && by != "value") return Status(Code::corrupt, "You can only sort by either \"key\" or \"value\"");
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : v.dict().items) {
    NBL_ASSIGN(Value order, sort_key(e, by == "key" ? key : value, nullptr, case_sensitive));
    NBL_ASSIGN(Value pair, e.list({key, value}, ListKind::tuple));
    keyed.emplace_back(std::move(order), std::move(pair));
  }
  NBL_TRY(sort_by_keys(e, keyed, descending));
  std::vector<Value> out;
  out.reserve(keyed.size());
  for (auto& [key, pair] : keyed) out.push_back(std::move(pair));
  return e.list(std::move(out));
}

Result<Value> unique(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const std::vector<Value> items, e.elements(v));
  std::unordered_set<std::string> seen;
  std::vector<Value> out;
  for (const Value& item : items) {
    NBL_ASSIGN(const Value key, sort_key(e, item, bound[1], bound.flag(0, false)));
    if (!hashable(key)) return Status(Code::corrupt, fmt::format("unhashable type: '{}'", type_name(key)));
    NBL_TRY(e.move_bytes(static_cast<std::size_t>(weight_of(key)) + 64));
    if (seen.insert(key_text(key)).second) out.push_back(item);
  }
  return e.list(std::move(out), ListKind::lazy);
}

template <int Sign>
Result<Value> extreme(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const std::vector<Value> items, e.elements(v));
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  std::size_t best = 0;
  NBL_ASSIGN(Value best_key, sort_key(e, items[0], bound[1], bound.flag(0, false)));
  for (std::size_t i = 1; i < items.size(); ++i) {
    NBL_ASSIGN(Value key, sort_key(e, items[i], bound[1], bound.flag(0, false)));
    NBL_TRY(e.spend(1 + std::min(weight_of(key), weight_of(best_key)) / 64));
    NBL_ASSIGN(const int order, compare(key, best_key));
    if (order != Sign) continue;
    best = i;
    best_key = std::move(key);
  }
  return items[best];
}

Result<Value> sum(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const std::vector<Value> items, e.elements(v));
  Value total = bound[1] != nullptr ? *bound[1] : Value(int64_t{0});
  for (const Value& item : items) {
    Value part = item;
    if (bound[0] != nullptr && !bound[0]->is(Kind::none)) {
      NBL_ASSIGN(part, e.item_path(item, *bound[0]));
    }
    NBL_ASSIGN(total, e.binary("+", total, part));
  }
  return total;
}

Result<Value> batch(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const std::vector<Value> items, e.elements(v));
  NBL_ASSIGN(const int64_t size, bound.integer(0, 1));
  if (size < 1) return Status(Code::corrupt, "batch() needs a positive size");
  std::vector<Value> out;
  for (std::size_t i = 0; i < items.size();) {
    const std::size_t end =
        size >= static_cast<int64_t>(items.size() - i) ? items.size() : i + static_cast<std::size_t>(size);
    std::vector<Value> row(items.begin() + static_cast<std::ptrdiff_t>(i),
                           items.begin() + static_cast<std::ptrdiff_t>(end));
    if (bound[1] != nullptr && !bound[1]->is(Kind::none) && static_cast<int64_t>(row.size()) < size) {
      NBL_TRY(e.move_bytes(static_cast<std::size_t>(std::min(size, INT64_C(1) << 40)) * sizeof(Value)));
      row.resize(static_cast<std::size_t>(size), *bound[1]);
    }
    i = end;
    NBL_ASSIGN(Value each, e.list(std::move(row)));
    out.push_back(std::move(each));
  }
  return e.list(std::move(out), ListKind::lazy);
}

Result<Value> slice(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const std::vector<Value> items, e.elements(v));
  NBL_ASSIGN(const int64_t count, bound.integer(0, 1));
  if (count < 1 || count > 100000) return Status(Code::corrupt, "slice() needs a count from 1 to 100000");
  const auto size = static_cast<int64_t>(items.size());
  std::vector<Value> out;
  int64_t at = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t mine = size / count + (i < size % count ? 1 : 0);
    std::vector<Value> row(items.begin() + at, items.begin() + at + mine);
    at += mine;
    if (bound[1] != nullptr && !bound[1]->is(Kind::none) && i >= size % count) row.push_back(*bound[1]);
    NBL_ASSIGN(Value each, e.list(std::move(row)));
    out.push_back(std::move(each));
  }
  return e.list(std::move(out), ListKind::lazy);
}

Result<Value> groupby(Evaluator& e, const Value& v, const Bound& bound, Args) {
  if (bound[0] == nullptr) return Status(Code::corrupt, "groupby() needs an attribute");
  NBL_ASSIGN(const std::vector<Value> items, e.elements(v));
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items) {
    NBL_ASSIGN(Value key, e.item_path(item, *bound[0]));
    if (key.is_undefined() && bound[1] != nullptr) key = *bound[1];
    if (key.is_string() && !bound.flag(2, false)) key = Value(lower(key.string()));
    keyed.emplace_back(std::move(key), item);
  }
  NBL_TRY(sort_by_keys(e, keyed, false));
  std::vector<Value> out;
  for (std::size_t i = 0; i < keyed.size();) {
    std::vector<Value> group;
    std::size_t j = i;
    for (; j < keyed.size() && equal(keyed[j].first, keyed[i].first); ++j) group.push_back(keyed[j].second);
    NBL_ASSIGN(Value list, e.list(std::move(group)));
    // The key as the first of its group has it.
    NBL_ASSIGN(Value name, e.item_path(keyed[i].second, *bound[0]));
    if (name.is_undefined()) name = keyed[i].first;
    NBL_ASSIGN(Value pair, e.list({std::move(name), std::move(list)}, ListKind::tuple));
    out.push_back(std::move(pair));
    i = j;
  }
  return e.list(std::move(out));
}

Result<Value> attr(Evaluator& e, const Value& v, const Bound& bound, Args) {
  NBL_ASSIGN(const std::string name, bound.string(0, ""));
  // Attributes alone, not a mapping's entries.
  if (v.is(Kind::dict)) {
    Value method = find_method(v, name);
    return method.is_undefined() ? Value::undefined(fmt::format("'dict object' has no attribute '{}'", name)) : method;
  }
  return e.attribute(v, name);
}

Result<Value> map(Evaluator& e, const Value& v, const Bound&, Args arguments) {
  NBL_ASSIGN(const std::vector<Value> items, e.elements(v));
  std::vector<Value> out;
  out.reserve(items.size());
  const Value *attribute = nullptr, *fallback = nullptr;
  if (arguments.positional.empty()) {
    for (const auto& [name, value] : arguments.named) {
      if (name == "attribute") {
        attribute = &value;
      } else if (name == "default") {
        fallback = &value;
      } else {
        return Status(Code::corrupt, fmt::format("Unexpected keyword argument '{}'", name));
      }
    }
    if (attribute == nullptr) return Status(Code::corrupt, "map requires a filter argument");
  } else if (!arguments.positional[0].is_string()) {
    return Status(Code::corrupt, "map requires a filter argument");
  }
  CallArguments rest = arguments;
  if (!rest.positional.empty()) rest.positional.erase(rest.positional.begin());
  for (const Value& item : items) {
    Value each;
    if (attribute != nullptr) {
      NBL_ASSIGN(each, e.item_path(item, *attribute));
      if (each.is_undefined() && fallback != nullptr) each = *fallback;
    } else {
      NBL_ASSIGN(each, e.apply_filter(arguments.positional[0].string(), item, rest));
    }
    out.push_back(std::move(each));
  }
  return e.list(std::move(out), ListKind::lazy);
}

/// select, reject and their attribute forms.
template <bool Keep, bool Attribute>
Result<Value> choose(Evaluator& e, const Value& v, const Bound&, Args arguments) {
  NBL_ASSIGN(const std::vector<Value> items, e.elements(v));
  CallArguments rest = arguments;
  const Value* path = nullptr;
  if (Attribute) {
    if (arguments.positional.empty()) return Status(Code::corrupt, "Missing parameter for attribute name");
    path = &arguments.positional[0];
    rest.positional.erase(rest.positional.begin());
  }
  std::string test;
  if (!rest.positional.empty()) {
    if (!rest.positional[0].is_string()) return Status(Code::corrupt, "a test's name must be a string");
    test = rest.positional[0].string();
    rest.positional.erase(rest.positional.begin());
  }
  std::vector<Value> out;
  for (const Value& item : items) {
    Value subject = item;
    if (path != nullptr) {
      NBL_ASSIGN(subject, e.item_path(item, *path));
    }
    bool yes = false;
    if (test.empty()) {
      NBL_ASSIGN(yes, e.truthy(subject));
    } else {
      NBL_ASSIGN(yes, e.apply_test(test, subject, rest));
    }
    if (yes == Keep) out.push_back(item);
  }
  return e.list(std::move(out), ListKind::lazy);
}

constexpr std::array kFilters = {
    Filter{"length", "", length},
    Filter{"count", "", length},
    Filter{"first", "", first},
    Filter{"last", "", last},
    Filter{"list", "", list_of},
    Filter{"reverse", "", reverse},
    Filter{"join", "d attribute", join},
    Filter{"items", "", items_of},
    Filter{"sort", "reverse case_sensitive attribute", sort},
    Filter{"dictsort", "case_sensitive by reverse", dictsort},
    Filter{"unique", "case_sensitive attribute", unique},
    Filter{"min", "case_sensitive attribute", extreme<-1>},
    Filter{"max", "case_sensitive attribute", extreme<1>},
    Filter{"sum", "attribute start", sum},
    Filter{"batch", "linecount fill_with", batch},
    Filter{"slice", "slices fill_with", slice},
    Filter{"groupby", "attribute default case_sensitive", groupby},
    Filter{"attr", "name", attr},
    Filter{"map", "*", map},
    Filter{"select", "*", choose<true, false>},
    Filter{"reject", "*", choose<false, false>},
    Filter{"selectattr", "*", choose<true, true>},
    Filter{"rejectattr", "*", choose<false, true>},
};

}  // namespace

const Filter* find_sequence_filter(std::string_view name) noexcept {
  return find_named(kFilters, name);
}

}  // namespace nbl::text::jinja
