// JSON schemas as grammars: a rule for each schema that occurs, found again by its text, so that recursion ends.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "base/bounds.h"
#include "model/grammar.h"
#include "model/json_grammar.h"
#include "model/schema_rules.h"

namespace nbl::model {
namespace {

using Node = GrammarBuilder::Node;

constexpr BoundOf<int64_t> kMaxSchema{nbl::Bound::schema_bytes};
constexpr BoundOf<std::size_t> kMaxRules{nbl::Bound::schema_rules};
constexpr BoundOf<int64_t> kMaxCount{nbl::Bound::schema_count};
constexpr BoundOf<int> kMaxNesting{nbl::Bound::schema_depth};
constexpr std::size_t kMaxNames = 20'000;         ///< bytes of property names that other names are told from; more make too large a grammar
constexpr std::size_t kNamesBytesOfRule = 64;     ///< of a name in one rule
constexpr int64_t kMaxStep = 1000;                ///< of multipleOf: a rule for each remainder and number of digits
constexpr std::size_t kMaxDistinct = 10;          ///< values of uniqueItems: a rule for each set of them

/// The whole numbers among the multiples of `value` are the multiples of this one.
int64_t whole_multiple(double value) {
  int64_t scale = 1;
  for (int digits = 0; digits <= 15; ++digits, scale *= 10) {
    const double scaled = value * static_cast<double>(scale), whole = std::round(scaled);
    if (scaled > 1e15) break;
    if (whole >= 1 && std::abs(scaled - whole) <= 1e-12 * scaled) {
      const auto numerator = static_cast<int64_t>(whole);
      return numerator / std::gcd(numerator, scale);
    }
  }
  return std::numeric_limits<int64_t>::max();
}

class SchemaCompiler {
 public:
  explicit SchemaCompiler(const Json& root) : root_(root) {}

  Result<std::shared_ptr<const Grammar>> run() {
    const int32_t root = b_.declare("root");
    NBL_ASSIGN(const Node body, schema(root_, "#", 0));
    b_.define(root, body);
    return b_.build(root);
  }

 private:
  Status refuse(const std::string& place, std::string_view what) const {
    return Status(Code::unsupported, fmt::format("JSON schema, {}: {} is not supported", place, what));
  }
  Node none() { return b_.choice({}); }
  Node optional(Node node) { return b_.repeat(node, 0, 1); }

  /// What may stand after a comma or colon: nothing, a space, or a line break and indentation.
  Node space() {
    if (space_ < 0) {
      space_ = b_.declare("space");
      b_.define(space_, b_.choice({b_.empty(), b_.literal(" "),
                                   b_.sequence({b_.literal("\n"), b_.repeat(b_.chars({{' ', ' '}}), 0, 32)})}));
    }
    return b_.call(space_);
  }
  Node comma() { return b_.sequence({b_.literal(","), space()}); }

  Result<Node> schema(const Json& s, const std::string& place, int depth) {
    if (depth > kMaxNesting) return Status(Code::limit, fmt::format("JSON schema, {}: nested too deeply", place));
    if (s.is_bool() && s.as_bool()) return any_value();
    const std::string key = s.dump();
    const auto [it, fresh] = rules_.try_emplace(key, 0);
    if (!fresh) return b_.call(it->second);
    if (rules_.size() > kMaxRules) return Status(Code::limit, "the JSON schema has too many parts");
    const int32_t rule = it->second = b_.declare(place);
    NBL_ASSIGN(const std::vector<Json> alternatives, schema_alternatives(root_, s, place));
    std::vector<Node> all;
    for (const Json& each : alternatives) {
      NBL_ASSIGN(const Node node, plain(each, place, depth));
      all.push_back(node);
    }
    b_.define(rule, b_.choice(std::move(all)));
    return b_.call(rule);
  }

  /// A schema without combinations.
  Result<Node> plain(const Json& s, const std::string& place, int depth) {
    if (s.is_bool()) return s.as_bool() ? any_value() : none();
    if (s.find("enum") != nullptr || s.find("const") != nullptr) return values(s, place);
    static constexpr std::pair<std::string_view, std::string_view> kImplied[] = {
        {"properties", "object"},       {"required", "object"},      {"additionalProperties", "object"},
        {"patternProperties", "object"}, {"propertyNames", "object"}, {"minProperties", "object"},
        {"maxProperties", "object"},    {"items", "array"},          {"prefixItems", "array"},
        {"minItems", "array"},          {"maxItems", "array"},       {"uniqueItems", "array"},
        {"minLength", "string"},        {"maxLength", "string"},     {"pattern", "string"},
        {"format", "string"},           {"minimum", "number"},       {"maximum", "number"},
        {"exclusiveMinimum", "number"}, {"exclusiveMaximum", "number"}, {"multipleOf", "number"}};
    std::set<std::string, std::less<>> types;
    if (const Json* type = s.find("type")) {
      if (type->is_string()) types.emplace(type->as_string());
      for (const Json& t : type->elements()) types.emplace(t.as_string());
      if (types.contains("number")) types.erase("integer");
    } else {
      // Without a type, a keyword binds values of its own type alone: those are what is written.
      for (const auto& [key, type_name] : kImplied)
        if (s.find(key) != nullptr) types.emplace(type_name);
      if (types.empty()) return any_value();
    }
    std::vector<Node> all;
    for (const std::string& type : types) {
      Node node = 0;
      if (type == "null") {
        node = b_.literal("null");
      } else if (type == "boolean") {
        node = b_.choice({b_.literal("true"), b_.literal("false")});
      } else if (type == "integer" || type == "number") {
        NBL_ASSIGN(node, number(s, place, type == "integer"));
      } else if (type == "string") {
        NBL_ASSIGN(node, string(s, place));
      } else if (type == "array") {
        NBL_ASSIGN(node, array(s, place, depth));
      } else if (type == "object") {
        NBL_ASSIGN(node, object(s, place, depth));
      } else {
        return Status(Code::invalid_argument, fmt::format("JSON schema, {}: \"{}\" is no type", place, type));
      }
      all.push_back(node);
    }
    return b_.choice(std::move(all));
  }

  Result<Node> values(const Json& s, const std::string& place) {
    std::vector<Json> all;
    if (const Json* list = s.find("enum")) {
      if (!list->is_array()) return Status(Code::invalid_argument, fmt::format("JSON schema, {}: enum is no list", place));
      all.assign(list->elements().begin(), list->elements().end());
    } else {
      all.push_back(*s.find("const"));
    }
    for (const std::string_view key : {"pattern", "format", "properties", "required", "items", "prefixItems", "additionalProperties"})
      if (s.find(key) != nullptr) {
        const bool concerns = std::any_of(all.begin(), all.end(), [&](const Json& v) {
          return key == "pattern" || key == "format" ? v.is_string()
                 : key == "items" || key == "prefixItems" ? v.is_array() : v.is_object();
        });
        if (concerns) return refuse(place, fmt::format("\"{}\" beside enum or const", key));
      }
    // Each value is in the list that it comes from: looking for it there would take quadratic time.
    Json rest = Json::object();
    for (const auto& [key, value] : s.members())
      if (key != "enum") rest.set(key, value);
    std::vector<Node> nodes;
    for (const Json& v : all)
      if (schema_admits_scalar(rest, v)) nodes.push_back(b_.literal(v.dump()));
    return b_.choice(std::move(nodes));
  }

  Result<int64_t> count(const Json& s, std::string_view key, int64_t fallback, const std::string& place) {
    const Json* n = s.find(key);
    if (n == nullptr) return fallback;
    const double value = n->as_double(-1);
    if (value < 0 || value != static_cast<double>(n->as_int(-1)))
      return Status(Code::invalid_argument, fmt::format("JSON schema, {}: {} is no count", place, key));
    if (n->as_int() > kMaxCount) return Status(Code::limit, fmt::format("JSON schema, {}: {} is above {}", place, key, kMaxCount.get()));
    return n->as_int();
  }

  Result<Node> number(const Json& s, const std::string& place, bool integer) {
    int64_t step = 1;
    const Json* multiple = s.find("multipleOf");
    if (multiple != nullptr) {
      if (!(multiple->as_double() > 0))
        return Status(Code::invalid_argument, fmt::format("JSON schema, {}: multipleOf is not above 0", place));
      step = whole_multiple(multiple->as_double());
      if (step > kMaxStep) return refuse(place, fmt::format("a \"multipleOf\" whose whole multiples are further than {} apart", kMaxStep));
    }
    std::optional<Bound> low, high;
    for (const auto& [key, upper, exclusive] : {std::tuple{"minimum", false, false}, std::tuple{"exclusiveMinimum", false, true},
                                               std::tuple{"maximum", true, false}, std::tuple{"exclusiveMaximum", true, true}}) {
      const Json* bound = s.find(key);
      if (bound == nullptr) continue;
      if (!bound->is_number()) return refuse(place, fmt::format("a \"{}\" that is no number", key));
      std::optional<Bound>& b = upper ? high : low;
      const double value = bound->as_double();
      const bool tighter = !b || (upper ? value < b->value : value > b->value) || (value == b->value && exclusive);
      if (tighter) b = Bound{value, exclusive};
    }
    // Of the multiples of a fraction, the whole ones are written: how the others are divided hangs on the reader's arithmetic.
    if (multiple != nullptr && !integer && low && high) {
      const auto width = static_cast<double>(step);
      double first = std::ceil(low->value / width) * width;
      if (low->exclusive && first == low->value) first += width;
      if (first > high->value || (high->exclusive && first == high->value))
        return refuse(place, "a \"multipleOf\" without a whole number between the bounds");
    }
    integer = integer || multiple != nullptr;
    if (low || high || step > 1) {
      auto node = json_number_range(b_, low, high, integer, step);
      if (!node.ok()) return node.status().with_context("JSON schema, " + place);
      return *node;
    }
    const Node digit = b_.chars({{'0', '9'}}), first = b_.chars({{'1', '9'}});
    const Node whole = b_.sequence({optional(b_.literal("-")), b_.choice({b_.literal("0"), b_.sequence({first, b_.repeat(digit, 0, 15)})})});
    if (integer) return whole;
    const Node fraction = b_.sequence({b_.literal("."), b_.repeat(digit, 1, 15)});
    const Node exponent = b_.sequence({b_.chars({{'E', 'E'}, {'e', 'e'}}), optional(b_.chars({{'+', '+'}, {'-', '-'}})),
                                       first, optional(digit)});
    return b_.sequence({whole, optional(fraction), optional(exponent)});
  }

  /// What stands between the quotes.
  Result<Node> content(const Json& s, const std::string& place) {
    NBL_ASSIGN(const int64_t min, count(s, "minLength", 0, place));
    NBL_ASSIGN(const int64_t max, count(s, "maxLength", -1, place));
    if (max >= 0 && max < min) return none();
    const Json *pattern = s.find("pattern"), *format = s.find("format");
    if (pattern != nullptr && format != nullptr) return refuse(place, "a pattern together with a format");
    if (pattern != nullptr || format != nullptr) {
      const char* of_format = format == nullptr ? nullptr : format_pattern(format->as_string());
      if (format != nullptr && of_format == nullptr)
        return refuse(place, fmt::format("the format \"{}\"", format->as_string()));
      auto node = json_pattern(b_, pattern != nullptr ? pattern->as_string() : std::string_view(of_format), min, max);
      if (!node.ok()) return node.status().with_context("JSON schema, " + place);
      return *node;
    }
    return b_.repeat(character(), static_cast<int32_t>(min), static_cast<int32_t>(max));
  }
  Node character() {
    if (character_ < 0) {
      character_ = b_.declare("character");
      b_.define(character_, any_json_character(b_));
    }
    return b_.call(character_);
  }
  Result<Node> string(const Json& s, const std::string& place) {
    NBL_ASSIGN(const Node inside, content(s, place));
    return b_.sequence({b_.literal("\""), inside, b_.literal("\"")});
  }

  /// Arrays without a value twice, of items that are a few listed values: what was used is what a rule knows.
  Result<Node> distinct(const Json& s, const std::string& place, int64_t min, int64_t max) {
    const Json* items = s.find("items");
    std::vector<Json> values;
    if (items != nullptr && items->is_object()) {
      const Json *list = items->find("enum"), *type = items->find("type");
      if (list != nullptr && list->is_array()) {
        for (const Json& v : list->elements())
          if (schema_admits_scalar(*items, v) && std::find(values.begin(), values.end(), v) == values.end()) values.push_back(v);
      } else if (const Json* one = items->find("const")) {
        values.push_back(*one);
      } else if (type != nullptr && type->as_string() == "boolean" && items->size() == 1) {
        values = {Json(true), Json(false)};
      }
    }
    if (values.empty() || values.size() > kMaxDistinct || s.find("prefixItems") != nullptr ||
        std::any_of(values.begin(), values.end(), [](const Json& v) { return v.is_array() || v.is_object(); }))
      return refuse(place, fmt::format("the keyword \"uniqueItems\" but of items that are an enum of {} plain values at most", kMaxDistinct));
    if (min > static_cast<int64_t>(values.size())) return none();
    const std::size_t most = max < 0 ? kMaxDistinct : std::min(static_cast<std::size_t>(max), kMaxDistinct);
    std::map<uint32_t, int32_t> rules;
    const std::function<Node(uint32_t)> after = [&](uint32_t used) -> Node {
      const auto [it, fresh] = rules.try_emplace(used, 0);
      if (!fresh) return b_.call(it->second);
      const int32_t rule = it->second = b_.declare("distinct");
      const auto count = static_cast<std::size_t>(std::popcount(used));
      std::vector<Node> all;
      for (std::size_t i = 0; i < values.size() && count < most; ++i) {
        if (used >> i & 1u) continue;
        std::vector<Node> parts = {b_.literal(values[i].dump()), after(used | 1u << i)};
        if (count > 0) parts.insert(parts.begin(), comma());
        all.push_back(b_.sequence(std::move(parts)));
      }
      if (static_cast<int64_t>(count) >= min) all.push_back(b_.empty());
      b_.define(rule, b_.choice(std::move(all)));
      return b_.call(rule);
    };
    return b_.sequence({b_.literal("["), space(), after(0), space(), b_.literal("]")});
  }

  Result<Node> array(const Json& s, const std::string& place, int depth) {
    NBL_ASSIGN(const int64_t min, count(s, "minItems", 0, place));
    NBL_ASSIGN(const int64_t max, count(s, "maxItems", -1, place));
    if (const Json* unique = s.find("uniqueItems"); unique != nullptr && unique->as_bool() && (max < 0 || max > 1)) {
      return distinct(s, place, min, max);
    }
    // Draft 7 writes prefixItems as an array of items, and what follows as additionalItems.
    const Json* items = s.find("items");
    const Json* prefix = s.find("prefixItems");
    if (items != nullptr && items->is_array()) {
      prefix = items;
      items = s.find("additionalItems");
    }
    std::vector<Node> first;
    if (prefix != nullptr) {
      for (std::size_t i = 0; i < prefix->size() && (max < 0 || static_cast<int64_t>(i) < max); ++i) {
        NBL_ASSIGN(const Node node, schema(prefix->elements()[i], fmt::format("{}/prefixItems/{}", place, i), depth + 1));
        first.push_back(node);
      }
    }
    const auto known = static_cast<int64_t>(first.size());
    const bool closed = items != nullptr && items->is_bool() && !items->as_bool();
    Node rest = 0;
    bool may_follow = !closed && (max < 0 || max > known);
    // After a tuple, more is written only where the schema says what, or asks for more.
    if (prefix != nullptr && items == nullptr && min <= known) may_follow = false;
    if (min > known && !may_follow) return none();
    if (may_follow) {
      static const Json kAny(true);
      NBL_ASSIGN(rest, schema(items == nullptr ? kAny : *items, place + "/items", depth + 1));
    }
    const auto more = [&](int64_t have) {  // after `have` items, all of the prefix among them
      if (!may_follow) return b_.empty();
      const int64_t least = std::max<int64_t>(0, min - have), most = max < 0 ? -1 : max - have;
      return b_.repeat(b_.sequence({comma(), rest}), static_cast<int32_t>(least), static_cast<int32_t>(most));
    };
    Node inside = 0;
    if (known == 0) {
      inside = may_follow ? b_.sequence({rest, more(1)}) : b_.empty();
      if (min == 0) inside = optional(inside);
    } else {
      inside = more(known);
      for (int64_t i = known; i-- > 0;) {
        const Node item = first[static_cast<std::size_t>(i)];
        inside = i > 0 ? b_.sequence({comma(), item, inside}) : b_.sequence({item, inside});
        if (i >= min) inside = optional(inside);
      }
    }
    return b_.sequence({b_.literal("["), space(), inside, space(), b_.literal("]")});
  }

  struct Property {
    std::string name;
    Node member = 0;  ///< key, colon and value
    bool required = false;
  };

  Node member(Node key, Node value) { return b_.sequence({key, b_.literal(":"), space(), value}); }

  /// A key that is none of the names, without escapes so that nothing else spells one of them.
  Result<Node> other_key(const std::vector<Property>& taken, const std::string& place) {
    OtherKey key;
    std::size_t bytes = 0;
    for (const Property& p : taken) {
      const std::string quoted = Json(p.name).dump();
      key.names.push_back(quoted.substr(1, quoted.size() - 2));
      bytes += key.names.back().size();
    }
    if (bytes > kMaxNames)
      return Status(Code::limit, fmt::format("JSON schema, {}: the names of the properties have more than {} bytes beside properties of other "
                                             "names", place, kMaxNames));
    std::sort(key.names.begin(), key.names.end());
    key.free = b_.chars({{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x7E}, {0xA0, 0x10FFFF}});
    key.quote = b_.literal("\"");
    const Node any = b_.sequence({key.quote, differing(key, {0, key.names.size(), 0, 0})});
    for (std::size_t i = 0; i < key.later.size(); ++i) {
      const Prefix prefix = key.later[i];
      b_.define(prefix.rule, differing(key, prefix));
    }
    return any;
  }
  /// Names begin..end of a sorted list: those whose first `depth` bytes are the same certain ones. rule: what may follow these.
  struct Prefix {
    std::size_t begin = 0, end = 0, depth = 0;
    int32_t rule = 0;
  };
  struct OtherKey {
    std::vector<std::string> names;
    std::vector<Prefix> later;  ///< what is left to a rule of its own, as names may be longer than a stack is deep
    Node free = 0, quote = 0;
  };
  /// What may follow in a key that begins as the names of `prefix` do, closing quote included. Bytes of other names are told apart in
  /// whole ASCII characters: a key that goes on with anything else is free.
  Node differing(OtherKey& key, Prefix prefix) {
    const std::size_t depth = prefix.depth;
    const bool ends = prefix.begin < prefix.end && key.names[prefix.begin].size() == depth;
    if (ends) ++prefix.begin;  // the shortest comes first
    std::vector<Node> longer;
    std::array<bool, 128> taken{};
    for (std::size_t i = prefix.begin; i < prefix.end;) {
      const char c = key.names[i][depth];
      const std::size_t first = i;
      while (i < prefix.end && key.names[i][depth] == c) ++i;
      if (static_cast<unsigned char>(c) >= 0x80 || c == '\\') continue;
      taken[static_cast<unsigned char>(c)] = true;
      Prefix next{first, i, depth + 1, 0};
      Node rest = 0;
      if (next.depth % kNamesBytesOfRule == 0) {
        next.rule = b_.declare("key");
        key.later.push_back(next);
        rest = b_.call(next.rule);
      } else {
        rest = differing(key, next);
      }
      longer.push_back(b_.sequence({b_.literal(std::string(1, c)), rest}));
    }
    GrammarBuilder::CodePoints others;
    for (uint32_t c = 0x20; c < 0x7F; ++c)
      if (c != '"' && c != '\\' && !taken[c]) others.emplace_back(c, c);
    std::vector<Node> all;
    if (!ends) all.push_back(key.quote);
    all.push_back(b_.sequence({b_.chars(others), b_.repeat(key.free, 0, -1), key.quote}));
    all.insert(all.end(), longer.begin(), longer.end());
    return b_.choice(std::move(all));
  }

  Result<Node> object(const Json& s, const std::string& place, int depth) {
    std::set<std::string, std::less<>> required;
    if (const Json* names = s.find("required"))
      for (const Json& name : names->elements()) required.emplace(name.as_string());
    const Json* additional = s.find("additionalProperties");
    const bool open = additional != nullptr && !(additional->is_bool() && !additional->as_bool());
    static const Json kAny(true);

    std::vector<Property> properties;
    if (const Json* named = s.find("properties")) {
      for (const auto& [name, value] : named->members()) {
        Property p;
        p.name = name;
        p.required = required.erase(name) > 0;
        NBL_ASSIGN(const Node node, schema(value, place + "/properties/" + name, depth + 1));
        p.member = member(b_.literal(Json(name).dump()), node);
        if (!p.required && value.is_bool() && !value.as_bool()) p.member = none();
        properties.push_back(std::move(p));
      }
    }
    const Json* patterns = s.find("patternProperties");
    const Json* key_schema = s.find("propertyNames");
    if (patterns != nullptr && (patterns->size() != 1 || !properties.empty() || open || key_schema != nullptr || !required.empty()))
      return refuse(place, "\"patternProperties\" beside other properties");
    if (key_schema != nullptr && !properties.empty()) return refuse(place, "\"propertyNames\" beside \"properties\"");
    for (const std::string& name : required) {  // required, but described nowhere
      if (additional != nullptr && !open) return none();
      if (key_schema != nullptr) return refuse(place, "\"propertyNames\" beside \"required\"");
      Property p;
      p.name = name;
      p.required = true;
      NBL_ASSIGN(const Node node, schema(additional == nullptr ? kAny : *additional, place + "/additionalProperties", depth + 1));
      p.member = member(b_.literal(Json(name).dump()), node);
      properties.push_back(std::move(p));
    }

    // Members of any name.
    const bool described = s.find("properties") != nullptr || !properties.empty();
    const bool free = patterns != nullptr || (additional == nullptr ? !described : open);
    Node extra = 0;
    if (free) {
      Node key = 0;
      const Json* value = additional == nullptr ? &kAny : additional;
      if (patterns != nullptr) {
        const auto& [pattern, of_pattern] = patterns->members()[0];
        NBL_ASSIGN(const Node inside, json_pattern(b_, pattern, 0, -1));
        key = b_.sequence({b_.literal("\""), inside, b_.literal("\"")});
        value = &of_pattern;
      } else if (key_schema != nullptr) {
        NBL_ASSIGN(key, key_of(*key_schema, place));
      } else {
        NBL_ASSIGN(key, other_key(properties, place));
      }
      NBL_ASSIGN(const Node node, schema(*value, place + "/additionalProperties", depth + 1));
      const int32_t rule = b_.declare("member");
      b_.define(rule, member(key, node));
      extra = b_.call(rule);
    }
    NBL_ASSIGN(const int64_t min, count(s, "minProperties", 0, place));
    NBL_ASSIGN(const int64_t max, count(s, "maxProperties", -1, place));
    const auto always = static_cast<int64_t>(std::count_if(properties.begin(), properties.end(), [](const Property& p) { return p.required; }));
    const auto named = static_cast<int64_t>(properties.size());
    if (max >= 0 && max < always) return none();
    if (min > always && !(properties.empty() && free && min == 1)) return refuse(place, "the keyword \"minProperties\"");
    if (max >= 0 && !(properties.empty() && free) && (free || max < named)) return refuse(place, "the keyword \"maxProperties\"");

    // Rules for "the members from the i-th on", before and after the first one was written; the last first.
    const Node more = free ? b_.repeat(b_.sequence({comma(), extra}), 0, max < 0 ? -1 : static_cast<int32_t>(max - 1)) : b_.empty();
    Node after = more, before = b_.empty();
    if (free && max != 0) {
      before = b_.sequence({extra, more});
      if (min == 0) before = optional(before);
    }
    for (std::size_t i = properties.size(); i-- > 0;) {
      const Property& p = properties[i];
      const int32_t rule_after = b_.declare(place), rule_before = b_.declare(place);
      const Node with_comma = b_.sequence({comma(), p.member, after}), alone = b_.sequence({p.member, after});
      b_.define(rule_after, p.required ? with_comma : b_.choice({with_comma, after}));
      b_.define(rule_before, p.required ? alone : b_.choice({alone, before}));
      after = b_.call(rule_after);
      before = b_.call(rule_before);
    }
    // An object may also be spread over lines.
    const Node inside = before;
    return b_.sequence({b_.literal("{"), space(), inside, space(), b_.literal("}")});
  }

  Result<Node> key_of(const Json& s, const std::string& place) {
    if (s.is_bool()) return s.as_bool() ? other_key({}, place) : none();
    NBL_ASSIGN(const std::vector<Json> alternatives, schema_alternatives(root_, s, place + "/propertyNames"));
    std::vector<Node> all;
    for (const Json& each : alternatives) {
      if (each.is_object() && (each.find("enum") != nullptr || each.find("const") != nullptr)) {
        NBL_ASSIGN(const Node node, values(each, place + "/propertyNames"));
        all.push_back(node);
      } else {
        NBL_ASSIGN(const Node node, string(each.is_object() ? each : Json::object(), place + "/propertyNames"));
        all.push_back(node);
      }
    }
    return b_.choice(std::move(all));
  }

  Node any_value() {
    if (any_ >= 0) return b_.call(any_);
    any_ = b_.declare("value");
    const Node value = b_.call(any_);
    const auto list = [&](Node item) { return optional(b_.sequence({item, b_.repeat(b_.sequence({comma(), item}), 0, -1)})); };
    const Node text = b_.sequence({b_.literal("\""), b_.repeat(character(), 0, -1), b_.literal("\"")});
    static const Json kNothing = Json::object();
    const Node plain_number = *number(kNothing, "", false);
    b_.define(any_, b_.choice({text, plain_number, b_.literal("true"), b_.literal("false"), b_.literal("null"),
                               b_.sequence({b_.literal("["), space(), list(value), space(), b_.literal("]")}),
                               b_.sequence({b_.literal("{"), space(), list(member(text, value)), space(), b_.literal("}")})}));
    return b_.call(any_);
  }

  const Json& root_;
  GrammarBuilder b_;
  std::map<std::string, int32_t> rules_;  ///< by the schema's text
  int32_t space_ = -1, character_ = -1, any_ = -1;
};

}  // namespace

Result<std::shared_ptr<const Grammar>> grammar_from_schema(std::string_view text) {
  JsonLimits limits;
  limits.max_bytes = kMaxSchema;
  NBL_ASSIGN(const Json root, Json::parse(text, "JSON schema", limits));
  return SchemaCompiler(root).run();
}

}  // namespace nbl::model
