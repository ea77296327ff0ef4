#include "text/jinja_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/utf8.h"

namespace nbl::text::jinja {
namespace {

constexpr std::size_t kIndexFrom = 8;  // entries of a dict from which on it is worth a table
constexpr int64_t kMaxWeight = int64_t{1} << 50;

}  // namespace

// Each alternative is read under its own kind: nothing throws, which clang-tidy does not see.
bool Value::same_as(const Value& other) const noexcept {  // NOLINT(bugprone-exception-escape)
  if (kind() != other.kind()) return false;
  switch (kind()) {
    case Kind::undefined:
    case Kind::none:
      return true;
    case Kind::string:
      return string() == other.string();
    case Kind::list:
      return &list() == &other.list();
    case Kind::dict:
      return &dict() == &other.dict();
    case Kind::object:
      return &object() == &other.object();
    case Kind::boolean:
      return boolean() == other.boolean();
    case Kind::integer:
      return integer() == other.integer();
    case Kind::real:
      return real() == other.real();
  }
  return false;
}

Value make_string(std::string_view text) { return Value(std::string(text)); }

int depth_of(const Value& value) noexcept {
  if (value.is(Kind::list)) return value.list().depth;
  if (value.is(Kind::dict)) return value.dict().depth;
  return 0;
}

int64_t weight_of(const Value& value) noexcept {
  if (value.is_string()) return 1 + static_cast<int64_t>(value.string().size());
  if (value.is(Kind::list)) return value.list().weight;
  if (value.is(Kind::dict)) return value.dict().weight;
  return 1;
}

Value make_list(std::vector<Value> items, ListKind kind) {
  auto list = std::make_shared<List>();
  list->kind = kind;
  for (const Value& item : items) {
    list->depth = std::max(list->depth, 1 + depth_of(item));
    list->weight = std::min(kMaxWeight, list->weight + weight_of(item));
  }
  list->items = std::move(items);
  return Value(std::shared_ptr<const List>(std::move(list)));
}

Value make_range(const RangeBounds& bounds) {
  auto list = std::make_shared<List>();
  list->kind = ListKind::range;
  list->bounds = bounds;
  for (int64_t i = bounds.start; bounds.step > 0 ? i < bounds.stop : i > bounds.stop;) {
    list->items.push_back(Value(i));
    if (__builtin_add_overflow(i, bounds.step, &i)) break;
  }
  list->weight = 1 + static_cast<int64_t>(list->items.size());
  return Value(std::shared_ptr<const List>(std::move(list)));
}

Value make_dict(Dict dict) { return Value(std::make_shared<const Dict>(std::move(dict))); }

std::size_t Dict::position(std::string_view text) const {
  if (index_.empty()) {
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (key_text(items[i].first) == text) return i;
    }
    return items.size();
  }
  const auto found = index_.find(std::string(text));
  return found == index_.end() ? items.size() : found->second;
}

const Value* Dict::find(const Value& key) const {
  if (key.is_string()) return find(std::string_view(key.string()));
  const std::size_t at = position(key_text(key));
  return at < items.size() ? &items[at].second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  if (index_.empty()) {
    for (const auto& [name, value] : items) {
      if (name.is_string() && name.string() == key) return &value;
    }
    return nullptr;
  }
  const std::size_t at = position("s" + std::string(key));
  return at < items.size() ? &items[at].second : nullptr;
}

void Dict::set(Value key, Value value) {
  depth = std::max({depth, 1 + depth_of(value), 1 + depth_of(key)});
  weight = std::min(kMaxWeight, weight + weight_of(key) + weight_of(value));
  std::string text = key_text(key);
  const std::size_t at = position(text);
  if (at < items.size()) {
    items[at].second = std::move(value);
    return;
  }
  items.emplace_back(std::move(key), std::move(value));
  if (!index_.empty()) {
    index_.emplace(std::move(text), items.size() - 1);
  } else if (items.size() > kIndexFrom) {
    for (std::size_t i = 0; i < items.size(); ++i) index_.emplace(key_text(items[i].first), i);
  }
}

bool hashable(const Value& value) {
  if (value.is(Kind::dict)) return false;
  if (!value.is(Kind::list)) return true;
  if (value.list().kind != ListKind::tuple) return value.list().kind == ListKind::lazy || value.list().kind == ListKind::range;
  return std::all_of(value.list().items.begin(), value.list().items.end(), hashable);
}

std::string key_text(const Value& value) {
  switch (value.kind()) {
    case Kind::string:
      return "s" + value.string();
    case Kind::boolean:
    case Kind::integer:
      return fmt::format("i{}", value.integer());
    case Kind::real: {
      const double v = value.real();
      if (std::floor(v) == v && std::fabs(v) < 9e18) return fmt::format("i{}", static_cast<int64_t>(v));
      return "f" + repr_float(v);
    }
    case Kind::none:
      return "n";
    case Kind::undefined:
      return "u";
    case Kind::list: {
      std::string out = value.list().kind == ListKind::range ? "r(" : "(";
      for (const Value& item : value.list().items) {
        const std::string text = key_text(item);
        out += fmt::format("{}:{}", text.size(), text);
      }
      return out;
    }
    case Kind::dict:
      return fmt::format("d{}", static_cast<const void*>(&value.dict()));
    case Kind::object:
      return fmt::format("o{}", static_cast<const void*>(&value.object()));
  }
  return {};
}

Value from_json(const Json& json) {
  switch (json.kind()) {
    case Json::Kind::null:
      return Value::none();
    case Json::Kind::boolean:
      return Value(json.as_bool());
    case Json::Kind::integer:
      return Value(json.as_int());
    case Json::Kind::real:
      return Value(json.as_double());
    case Json::Kind::string:
      return Value(is_valid_utf8(json.as_string()) ? std::string(json.as_string())
                                                   : replace_invalid_utf8(json.as_string()));
    case Json::Kind::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json.elements()) items.push_back(from_json(item));
      return make_list(std::move(items));
    }
    case Json::Kind::object: {
      Dict dict;
      dict.items.reserve(json.size());
      for (const auto& [key, item] : json.members()) dict.set(Value(key), from_json(item));
      return make_dict(std::move(dict));
    }
  }
  return {};
}

int64_t bytes_of(const Json& json) {
  int64_t bytes = 64;
  if (json.is_string()) bytes += static_cast<int64_t>(json.as_string().size());
  for (const Json& item : json.elements()) bytes += bytes_of(item);
  for (const auto& [key, item] : json.members()) bytes += 96 + static_cast<int64_t>(key.size()) + bytes_of(item);
  return bytes;
}

Result<Json> to_json(const Value& value) {
  switch (value.kind()) {
    case Kind::none:
      return Json();
    case Kind::boolean:
      return Json(value.boolean());
    case Kind::integer:
      return Json(value.integer());
    case Kind::real:
      return Json(value.real());
    case Kind::string:
      return Json(value.string());
    case Kind::list: {
      Json out = Json::array();
      for (const Value& item : value.list().items) {
        NBL_ASSIGN(Json each, to_json(item));
        out.push_back(std::move(each));
      }
      return out;
    }
    case Kind::dict: {
      Json out = Json::object();
      for (const auto& [key, item] : value.dict().items) {
        NBL_ASSIGN(Json each, to_json(item));
        out.set(to_text(key), std::move(each));
      }
      return out;
    }
    case Kind::undefined:
    case Kind::object:
      break;
  }
  return Status(Code::corrupt, fmt::format("Object of type {} is not JSON serializable", type_name(value)));
}

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return "str";
    case Kind::list:
      switch (value.list().kind) {
        case ListKind::list:
          return "list";
        case ListKind::tuple:
          return "tuple";
        case ListKind::range:
          return "range";
        case ListKind::lazy:
          return "generator";
        case ListKind::keys:
          return "dict_keys";
        case ListKind::values:
          return "dict_values";
        case ListKind::items:
          return "dict_items";
      }
      break;
    case Kind::dict:
      return "dict";
    case Kind::object:
      return value.object().type();
  }
  return "object";
}

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.integer() != 0;
    case Kind::real:
      return value.real() != 0;
    case Kind::string:
      return !value.string().empty();
    case Kind::list:
      return value.list().kind == ListKind::lazy || !value.list().items.empty();
    case Kind::dict:
      return !value.dict().items.empty();
    case Kind::object:
      return true;
  }
  return false;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.integer() == b.integer();
    return a.real() == b.real();
  }
  if (a.kind() != b.kind()) return false;
  if (a.is_string()) return a.string() == b.string();
  if (a.is(Kind::list)) {
    const List &x = a.list(), &y = b.list();
    if (x.kind == ListKind::lazy || x.kind == ListKind::values || y.kind == ListKind::lazy) return &x == &y;
    return x.kind == y.kind && std::equal(x.items.begin(), x.items.end(), y.items.begin(), y.items.end(), equal);
  }
  if (a.is(Kind::dict)) {
    if (a.dict().items.size() != b.dict().items.size()) return false;
    return std::all_of(a.dict().items.begin(), a.dict().items.end(), [&](const auto& entry) {
      const Value* other = b.dict().find(entry.first);
      return other != nullptr && equal(entry.second, *other);
    });
  }
  return a.same_as(b);
}

Result<int> compare(const Value& a, const Value& b) {
  const auto order = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return order(a.integer(), b.integer());
    return order(a.real(), b.real());
  }
  // The order of UTF-8 bytes is that of code points.
  if (a.is_string() && b.is_string()) return order(a.string(), b.string());
  if (a.is(Kind::list) && b.is(Kind::list) && a.list().kind == b.list().kind && is_joinable(a.list().kind)) {
    const auto &x = a.list().items, &y = b.list().items;
    for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(x[i], y[i])) return compare(x[i], y[i]);
    }
    return order(x.size(), y.size());
  }
  if (a.is_undefined() || b.is_undefined()) {
    return Status(Code::corrupt, std::string((a.is_undefined() ? a : b).why()));
  }
  return Status(Code::corrupt, fmt::format("'{}' and '{}' cannot be ordered", type_name(a), type_name(b)));
}

std::size_t count_chars(std::string_view utf8) noexcept {
  return static_cast<std::size_t>(
      std::count_if(utf8.begin(), utf8.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::vector<std::size_t> char_offsets(std::string_view utf8) {
  std::vector<std::size_t> out;
  out.reserve(utf8.size() + 1);
  for (std::size_t i = 0; i < utf8.size(); ++i) {
    if ((static_cast<unsigned char>(utf8[i]) & 0xC0) != 0x80) out.push_back(i);
  }
  out.push_back(utf8.size());
  return out;
}

bool is_space_char(uint32_t c) noexcept {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view strip_left(std::string_view text) noexcept {
  while (!text.empty()) {
    const char* p = text.data();
    if (!is_space_char(next_valid_utf8(p))) break;
    text.remove_prefix(static_cast<std::size_t>(p - text.data()));
  }
  return text;
}

std::string_view strip_right(std::string_view text) noexcept {
  while (!text.empty()) {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    const char* p = text.data() + begin;
    if (!is_space_char(next_valid_utf8(p))) break;
    text = text.substr(0, begin);
  }
  return text;
}

}  // namespace nbl::text::jinja
