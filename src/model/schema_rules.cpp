#include "model/schema_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "base/bounds.h"
#include "text/utf8.h"

namespace nbl::model {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr BoundOf<std::size_t> kMaxAlternatives{Bound::schema_alternatives};
constexpr int kMaxDepth = 48;  ///< of references and combinations at one place
constexpr std::size_t kMaxPairs = 10'000'000;  ///< of elements of two lists that are compared
constexpr std::size_t kMaxParts = 1024;        ///< of an allOf

constexpr std::string_view kKnown[] = {
    "type",      "enum",      "const",     "properties",       "required",         "additionalProperties", "patternProperties",
    "propertyNames", "minProperties", "maxProperties", "items", "prefixItems", "additionalItems", "minItems", "maxItems",
    "uniqueItems", "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "$ref", "allOf", "anyOf", "oneOf"};
constexpr std::string_view kIgnored[] = {
    "title",   "description", "default",   "examples",    "$comment",        "$schema",         "$id",        "id",
    "$defs",   "definitions", "readOnly",  "writeOnly",   "deprecated",      "contentEncoding", "contentMediaType",
    "example", "$anchor"};

bool is_one_of(std::string_view name, std::span<const std::string_view> list) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

Status check_keywords(const Json& schema, const std::string& place) {
  for (const auto& [key, value] : schema.members())
    if (!is_one_of(key, kKnown) && !is_one_of(key, kIgnored))
      return Status(Code::unsupported, fmt::format("JSON schema, {}: the keyword \"{}\" is not supported", place, key));
  const auto wrong = [&](std::string_view key, std::string_view expected) {
    return Status(Code::invalid_argument, fmt::format("JSON schema, {}: \"{}\" is not {}", place, key, expected));
  };
  const auto names = [](const Json& list) {
    return list.is_array() && std::all_of(list.elements().begin(), list.elements().end(), [](const Json& each) { return each.is_string(); });
  };
  for (const std::string_view key : {"properties", "patternProperties"})
    if (const Json* value = schema.find(key); value != nullptr && !value->is_object()) return wrong(key, "an object of schemas");
  if (const Json* value = schema.find("prefixItems"); value != nullptr && !value->is_array()) return wrong("prefixItems", "a list of schemas");
  if (const Json* value = schema.find("required"); value != nullptr && !names(*value)) return wrong("required", "a list of names");
  if (const Json* value = schema.find("type"); value != nullptr && !value->is_string() && !names(*value))
    return wrong("type", "the name of a type or a list of such names");
  for (const std::string_view key : {"pattern", "format", "$ref"})
    if (const Json* value = schema.find(key); value != nullptr && !value->is_string()) return wrong(key, "a string");
  return {};
}

std::vector<std::string> types_of(const Json& schema) {
  const Json* type = schema.find("type");
  if (type == nullptr) return {};
  std::vector<std::string> out;
  if (type->is_string()) out.emplace_back(type->as_string());
  for (const Json& t : type->elements()) out.emplace_back(t.as_string());
  return out;
}

/// The values that const and enum leave; null without either.
std::optional<std::vector<Json>> values_of(const Json& schema) {
  std::optional<std::vector<Json>> out;
  if (const Json* all = schema.find("enum")) out.emplace(all->elements().begin(), all->elements().end());
  if (const Json* one = schema.find("const")) {
    if (!out) return std::vector<Json>{*one};
    std::erase_if(*out, [&](const Json& v) { return !(v == *one); });
  }
  return out;
}

Json all_of(const Json& a, const Json& b) {
  if (a == b) return a;
  Json list = Json::array();
  list.push_back(a);
  list.push_back(b);
  return Json::object({{"allOf", std::move(list)}});
}

/// The keyword of both schemas, put together by `both` when each has it.
template <class Both>
Status merge_key(const Json& a, const Json& b, std::string_view key, Json& out, Both&& both) {
  const Json *x = a.find(key), *y = b.find(key);
  if (x == nullptr && y == nullptr) return {};
  if (x == nullptr || y == nullptr || *x == *y) {
    out.set(key, x != nullptr ? *x : *y);
    return {};
  }
  return both(*x, *y);
}

/// Lists are compared element by element.
Status check_pairs(std::size_t a, std::size_t b, std::string_view key, const std::string& place) {
  if (b == 0 || a <= kMaxPairs / b) return {};
  return Status(Code::limit, fmt::format("JSON schema, {}: two \"{}\" of {} and {} entries together are too long", place, key, a, b));
}

/// Both schemas at once, as one; `false` when that is impossible.
Result<Json> merge(const Json& a, const Json& b, const std::string& place) {
  if (a.is_bool()) return a.as_bool() ? b : a;
  if (b.is_bool()) return b.as_bool() ? a : b;
  Json out = Json::object();
  const std::vector<std::string> ta = types_of(a), tb = types_of(b);
  if (!ta.empty() || !tb.empty()) {
    Json types = Json::array();
    const auto has = [](const std::vector<std::string>& t, std::string_view name) {
      return t.empty() || std::find(t.begin(), t.end(), name) != t.end();
    };
    for (const std::string_view t : {"null", "boolean", "integer", "number", "string", "array", "object"}) {
      const bool in_a = has(ta, t) || (t == "integer" && has(ta, "number"));
      const bool in_b = has(tb, t) || (t == "integer" && has(tb, "number"));
      if (in_a && in_b && !(t == "integer" && has(ta, "number") && has(tb, "number"))) types.push_back(t);
    }
    if (types.size() == 0) return Json(false);
    out.set("type", std::move(types));
  }
  const auto va = values_of(a), vb = values_of(b);
  if (va || vb) {
    if (va && vb) NBL_TRY(check_pairs(va->size(), vb->size(), "enum", place));
    Json values = Json::array();
    for (const Json& v : va ? *va : *vb)
      if (!va || !vb || std::find(vb->begin(), vb->end(), v) != vb->end()) values.push_back(v);
    if (values.size() == 0) return Json(false);
    out.set("enum", std::move(values));
  }
  for (const std::string_view key : {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
    NBL_TRY(merge_key(a, b, key, out, [&](const Json& x, const Json& y) {
      return out.set(key, x.as_double() > y.as_double() ? x : y), Status();
    }));
  for (const std::string_view key : {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
    NBL_TRY(merge_key(a, b, key, out, [&](const Json& x, const Json& y) {
      return out.set(key, x.as_double() < y.as_double() ? x : y), Status();
    }));
  for (const std::string_view key :
       {"pattern", "format", "multipleOf", "prefixItems", "additionalItems", "patternProperties", "uniqueItems"})
    NBL_TRY(merge_key(a, b, key, out, [&](const Json&, const Json&) {
      return Status(Code::unsupported, fmt::format("JSON schema, {}: two different \"{}\" together are not supported", place, key));
    }));
  for (const std::string_view key : {"items", "propertyNames"})
    NBL_TRY(merge_key(a, b, key, out, [&](const Json& x, const Json& y) { return out.set(key, all_of(x, y)), Status(); }));

  // Objects: what one side calls additional may be a property of the other.
  const Json *pa = a.find("properties"), *pb = b.find("properties");
  const Json *aa = a.find("additionalProperties"), *ab = b.find("additionalProperties");
  if (pa != nullptr || pb != nullptr) {
    Json properties = Json::object();
    const auto add = [&](const Json* own, const Json* other, const Json* other_additional) {
      if (own == nullptr) return;
      for (const auto& [name, schema] : own->members()) {
        if (properties.find(name) != nullptr) continue;
        const Json* there = other == nullptr ? nullptr : other->find(name);
        const Json* also = there != nullptr ? there : other_additional;
        properties.set(name, also == nullptr ? schema : all_of(schema, *also));
      }
    };
    add(pa, pb, ab);
    add(pb, pa, aa);
    out.set("properties", std::move(properties));
  }
  NBL_TRY(merge_key(a, b, "additionalProperties", out, [&](const Json& x, const Json& y) {
    return out.set("additionalProperties", all_of(x, y)), Status();
  }));
  NBL_TRY(merge_key(a, b, "required", out, [&](const Json& x, const Json& y) {
    NBL_TRY(check_pairs(x.size(), y.size(), "required", place));
    Json all = x;
    for (const Json& name : y.elements())
      if (std::find(x.elements().begin(), x.elements().end(), name) == x.elements().end()) all.push_back(name);
    return out.set("required", std::move(all)), Status();
  }));
  return out;
}

std::set<std::string_view> required_names(const Json& schema) {
  std::set<std::string_view> names;
  if (const Json* required = schema.find("required"))
    for (const Json& name : required->elements()) names.insert(name.as_string());
  return names;
}

double number_or(const Json* number, double otherwise) { return number == nullptr ? otherwise : number->as_double(); }

/// No scalar that the first admits is admitted by the second.
bool disjoint_scalars(const Json& a, const Json& b) {
  const auto va = values_of(a), vb = values_of(b);
  if (va && vb && !vb->empty() && va->size() > kMaxPairs / vb->size()) return false;  // not found out
  const auto none = [](const std::vector<Json>& values, const Json& schema) {
    return std::none_of(values.begin(), values.end(), [&](const Json& v) { return schema_admits_scalar(schema, v); });
  };
  if (va) return none(*va, b);
  if (vb) return none(*vb, a);
  const auto low = [](const Json& s) {
    const Json *m = s.find("minimum"), *e = s.find("exclusiveMinimum");
    return std::max(number_or(m, -kInfinity), number_or(e, -kInfinity));
  };
  const auto high = [](const Json& s) {
    const Json *m = s.find("maximum"), *e = s.find("exclusiveMaximum");
    return std::min(number_or(m, kInfinity), number_or(e, kInfinity));
  };
  return low(a) > high(b) || low(b) > high(a);
}

/// No text that is written for `a` is valid under `b`. Only what is certain counts.
bool never_valid(const Json& a, const Json& b) {
  if (a.is_bool() || b.is_bool()) return (a.is_bool() && !a.as_bool()) || (b.is_bool() && !b.as_bool());
  for (const std::string_view type : {"null", "boolean", "string", "array", "object"}) {
    if (!schema_admits_type(a, type) || !schema_admits_type(b, type)) continue;
    if (type == "null") return false;
    if (type != "object") {
      const bool valued = values_of(a).has_value() || values_of(b).has_value();
      if (!valued || !disjoint_scalars(a, b)) return false;
      continue;
    }
    bool apart = false;
    const Json *pa = a.find("properties"), *pb = b.find("properties");
    const Json *open_a = a.find("additionalProperties"), *open_b = b.find("additionalProperties");
    const bool a_closed = open_a == nullptr || (open_a->is_bool() && !open_a->as_bool());
    const bool b_closed = open_b != nullptr && open_b->is_bool() && !open_b->as_bool();
    const std::set<std::string_view> required_of_a = required_names(a);
    if (const Json* required = b.find("required"))
      for (const Json& name : required->elements())
        apart = apart || (a_closed && (pa == nullptr || pa->find(name.as_string()) == nullptr) &&
                          !required_of_a.contains(name.as_string()) && a.find("patternProperties") == nullptr &&
                          (pa != nullptr || open_a != nullptr));
    if (const Json* required = a.find("required")) {
      for (const Json& name : required->elements()) {
        const Json* here = pa == nullptr ? nullptr : pa->find(name.as_string());
        const Json* there = pb == nullptr ? nullptr : pb->find(name.as_string());
        if (there == nullptr)
          apart = apart || (b_closed && b.find("patternProperties") == nullptr);
        else if (here != nullptr && here->find("$ref") == nullptr && there->find("$ref") == nullptr)
          apart = apart || never_valid(*here, *there);
      }
    }
    if (!apart) return false;
  }
  // Numbers last: integers are numbers.
  const bool both = (schema_admits_type(a, "number") || schema_admits_type(a, "integer")) &&
                    (schema_admits_type(b, "number") || schema_admits_type(b, "integer"));
  return !both || disjoint_scalars(a, b);
}

Result<std::vector<Json>> cross(const std::vector<Json>& a, const std::vector<Json>& b, const std::string& place) {
  std::vector<Json> out;
  for (const Json& x : a) {
    for (const Json& y : b) {
      NBL_ASSIGN(Json both, merge(x, y, place));
      if (both.is_bool() && !both.as_bool()) continue;
      out.push_back(std::move(both));
      if (out.size() > kMaxAlternatives)
        return Status(Code::limit, fmt::format("JSON schema, {}: more than {} alternatives", place, kMaxAlternatives.get()));
    }
  }
  return out;
}

Result<std::vector<Json>> expand(const Json& root, const Json& schema, const std::string& place, int depth) {
  if (depth > kMaxDepth)
    return Status(Code::unsupported, fmt::format("JSON schema, {}: references and combinations refer to themselves", place));
  if (schema.is_bool()) return schema.as_bool() ? std::vector<Json>{schema} : std::vector<Json>{};
  if (!schema.is_object())
    return Status(Code::invalid_argument, fmt::format("JSON schema, {}: a schema is an object, true or false", place));
  NBL_TRY(check_keywords(schema, place));
  Json base = schema;
  for (const std::string_view key : {"$ref", "allOf", "anyOf", "oneOf", "$defs", "definitions", "default", "examples"}) base.erase(key);
  std::vector<Json> all = {base};
  if (const Json* ref = schema.find("$ref")) {
    NBL_ASSIGN(const Json* const target, resolve_reference(root, ref->as_string()));
    NBL_ASSIGN(const std::vector<Json> there, expand(root, *target, std::string(ref->as_string()), depth + 1));
    NBL_ASSIGN(all, cross(all, there, place));
  }
  if (const Json* parts = schema.find("allOf")) {
    if (parts->size() > kMaxParts)
      return Status(Code::limit, fmt::format("JSON schema, {}/allOf: {} parts, more than {}", place, parts->size(), kMaxParts));
    for (const Json& part : parts->elements()) {
      NBL_ASSIGN(const std::vector<Json> there, expand(root, part, place + "/allOf", depth + 1));
      NBL_ASSIGN(all, cross(all, there, place));
    }
  }
  for (const char* key : {"anyOf", "oneOf"}) {
    const Json* parts = schema.find(key);
    if (parts == nullptr) continue;
    if (!parts->is_array() || parts->size() == 0)
      return Status(Code::invalid_argument, fmt::format("JSON schema, {}/{}: a list of schemas was expected", place, key));
    std::vector<Json> either;
    std::vector<std::size_t> branch;
    for (std::size_t i = 0; i < parts->elements().size(); ++i) {
      NBL_ASSIGN(const std::vector<Json> there,
                 expand(root, parts->elements()[i], fmt::format("{}/{}/{}", place, key, i), depth + 1));
      NBL_ASSIGN(std::vector<Json> here, cross(all, there, place));
      for (Json& each : here) {
        either.push_back(std::move(each));
        branch.push_back(i);
      }
    }
    if (std::string_view(key) == "oneOf") {
      for (std::size_t i = 0; i < either.size(); ++i)
        for (std::size_t j = 0; j < either.size(); ++j)
          if (branch[i] != branch[j] && !never_valid(either[i], either[j]))
            return Status(Code::unsupported,
                          fmt::format("JSON schema, {}/oneOf: alternatives {} and {} may both hold; use anyOf, or tell them "
                                      "apart by type or by a required constant",
                                      place, branch[i], branch[j]));
    }
    if (either.size() > kMaxAlternatives)
      return Status(Code::limit, fmt::format("JSON schema, {}: more than {} alternatives", place, kMaxAlternatives.get()));
    all = std::move(either);
  }
  return all;
}

}  // namespace

Result<const Json*> resolve_reference(const Json& root, std::string_view reference) {
  if (!reference.starts_with('#') || (reference.size() > 1 && reference[1] != '/'))
    return Status(Code::unsupported,
                  fmt::format("JSON schema: the reference \"{}\" leads elsewhere; \"#/...\" was expected", reference));
  const Json* at = &root;
  std::string_view rest = reference.substr(1);
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const std::size_t end = std::min(rest.find('/'), rest.size());
    std::string name;
    for (std::size_t i = 0; i < end; ++i) {
      int code = 0;
      if (rest[i] == '~' && i + 1 < end) {
        name += rest[++i] == '1' ? '/' : '~';
      } else if (rest[i] == '%' && i + 2 < end + 0 &&
                 std::from_chars(rest.data() + i + 1, rest.data() + i + 3, code, 16).ec == std::errc()) {
        name += static_cast<char>(code);
        i += 2;
      } else {
        name += rest[i];
      }
    }
    rest.remove_prefix(end);
    const Json* next = at->find(name);
    std::size_t index = 0;
    if (next == nullptr && at->is_array() &&
        std::from_chars(name.data(), name.data() + name.size(), index).ec == std::errc() && index < at->size())
      next = &at->elements()[index];
    if (next == nullptr)
      return Status(Code::invalid_argument, fmt::format("JSON schema: the reference \"{}\" leads nowhere", reference));
    at = next;
  }
  return at;
}

Result<std::vector<Json>> schema_alternatives(const Json& root, const Json& schema, const std::string& place) {
  return expand(root, schema, place, 0);
}

std::string_view json_type(const Json& value) {
  switch (value.kind()) {
    case Json::Kind::null:
      return "null";
    case Json::Kind::boolean:
      return "boolean";
    case Json::Kind::integer:
      return "integer";
    case Json::Kind::real:
      return value.as_double() == std::floor(value.as_double()) ? "integer" : "number";
    case Json::Kind::string:
      return "string";
    case Json::Kind::array:
      return "array";
    case Json::Kind::object:
      return "object";
  }
  return "null";
}

bool schema_admits_type(const Json& schema, std::string_view type) {
  if (schema.is_bool()) return schema.as_bool();
  const std::vector<std::string> types = types_of(schema);
  const bool typed = types.empty() || std::find(types.begin(), types.end(), type) != types.end() ||
                     (type == "integer" && std::find(types.begin(), types.end(), "number") != types.end());
  if (!typed) return false;
  const auto values = values_of(schema);
  if (!values) return true;
  return std::any_of(values->begin(), values->end(), [&](const Json& v) {
    const std::string_view t = json_type(v);
    return t == type || (type == "number" && t == "integer");
  });
}

bool schema_admits_scalar(const Json& schema, const Json& value) {
  if (schema.is_bool()) return schema.as_bool();
  const std::string_view type = json_type(value);
  const std::vector<std::string> types = types_of(schema);
  if (!types.empty() && std::find(types.begin(), types.end(), type) == types.end() &&
      !(type == "integer" && std::find(types.begin(), types.end(), "number") != types.end()))
    return false;
  const auto values = values_of(schema);
  if (values && std::find(values->begin(), values->end(), value) == values->end()) return false;
  const auto bound = [&](std::string_view key, double fallback) {
    const Json* b = schema.find(key);
    return b != nullptr && b->is_number() ? b->as_double() : fallback;
  };
  if (value.is_number()) {
    const double x = value.as_double();
    if (x < bound("minimum", -kInfinity) || x > bound("maximum", kInfinity)) return false;
    if (!(x > bound("exclusiveMinimum", -kInfinity)) || !(x < bound("exclusiveMaximum", kInfinity))) return false;
    const double step = bound("multipleOf", 0);
    if (step > 0 && std::abs(std::remainder(x, step)) > 1e-9 * std::abs(x)) return false;
  }
  if (value.is_string()) {
    double length = 0;
    for (const char c : value.as_string()) length += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    if (length < bound("minLength", 0) || length > bound("maxLength", kInfinity)) return false;
  }
  if (value.is_array() && (static_cast<double>(value.size()) < bound("minItems", 0) ||
                           static_cast<double>(value.size()) > bound("maxItems", kInfinity)))
    return false;
  return true;
}

}  // namespace nbl::model
