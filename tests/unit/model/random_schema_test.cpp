// Random JSON schemas of a fixed seed: whatever is written under one, token by random token, is valid under it, says a validator
// written here. tests/interop/random_schemas.py does the same with a model and the jsonschema package.
#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "base/random.h"
#include "model/grammar_matcher.h"
#include "model/schema_rules.h"
#include "support/byte_tokenizer.h"

namespace nbl::model {
namespace {

constexpr const char* kPatterns[] = {"^[a-z]{2,5}$", "^\\d{3}-\\d{4}$", "^(foo|bar)+$", "[0-9]", "^[a-c]*$", "^(?:x|y(?:z|w){1,2})?$"};
constexpr const char* kNames[] = {"a", "b", "ab", "name", "x-1", "k\xC3\xA4se", "a b", "quote\"d"};

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}

  Json document() {
    Json s = schema(3);
    if (s.find("$ref") != nullptr) s = Json::object({{"allOf", list({s})}});
    s.set("$defs", Json::object({{"leaf", string()},
                                 {"tree", *Json::parse(R"({"type":"object","properties":{"v":{"type":"integer","maximum":7},"kids":{"type":"array",
                                    "maxItems":2,"items":{"$ref":"#/$defs/tree"}}},"required":["v"],"additionalProperties":false})",
                                                       "tree")}}));
    return s;
  }

 private:
  int64_t below(int64_t n) { return static_cast<int64_t>(random_.next() % static_cast<uint64_t>(n)); }
  bool maybe(int64_t percent) { return below(100) < percent; }
  static Json list(std::initializer_list<Json> items) {
    Json all = Json::array();
    for (const Json& item : items) all.push_back(item);
    return all;
  }
  Json scalar() {
    switch (below(5)) {
      case 0: return Json();
      case 1: return Json(maybe(50));
      case 2: return Json(below(100) - 50);
      case 3: return Json(static_cast<double>(below(1000) - 500) / 8);
      default: return Json(below(2) == 0 ? "" : "\xC3\xA4\"\\\n");
    }
  }
  Json string() {
    Json s = Json::object({{"type", "string"}});
    const int64_t low = below(4);
    if (maybe(40)) s.set("pattern", kPatterns[below(6)]);
    if (s.find("pattern") == nullptr && maybe(60)) s.set("minLength", low);
    if (s.find("pattern") == nullptr && maybe(60)) s.set("maxLength", low + below(8));
    return s;
  }
  Json number() {
    Json s = Json::object({{"type", maybe(50) ? "integer" : "number"}});
    const double low = static_cast<double>(below(20000) - 10000) / (maybe(50) ? 8 : 1000);
    if (maybe(50)) s.set(maybe(50) ? "minimum" : "exclusiveMinimum", low);
    if (maybe(50)) s.set(maybe(50) ? "maximum" : "exclusiveMaximum", low + (maybe(50) ? 2 : 3.75 + 1.0 / 3));
    return s;
  }
  Json array(int depth) {
    Json s = Json::object({{"type", "array"}});
    const int64_t low = below(3);
    if (maybe(25)) {
      Json prefix = Json::array();
      for (int64_t i = below(3) + 1; i > 0; --i) prefix.push_back(schema(depth - 1));
      s.set("prefixItems", std::move(prefix));
      s.set("items", maybe(50) ? Json(false) : schema(depth - 1));
    } else if (maybe(85)) {
      s.set("items", schema(depth - 1));
    }
    if (s.find("prefixItems") == nullptr && maybe(50)) s.set("minItems", low);
    if (maybe(60)) s.set("maxItems", low + below(3));
    return s;
  }
  Json object(int depth) {
    Json s = Json::object({{"type", "object"}}), properties = Json::object(), required = Json::array();
    for (const char* name : kNames)
      if (maybe(25)) {
        properties.set(name, schema(depth - 1));
        if (maybe(50)) required.push_back(name);
      }
    if (properties.size() > 0 || maybe(50)) {
      s.set("properties", std::move(properties));
      s.set("required", std::move(required));
    }
    if (maybe(60)) s.set("additionalProperties", maybe(33) ? Json(false) : maybe(50) ? Json(true) : schema(depth - 1));
    return s;
  }
  Json schema(int depth) {
    const int64_t kind = below(100);
    if (depth <= 0 || kind < 35) {
      switch (below(6)) {
        case 0: return string();
        case 1: return number();
        case 2: return Json::object({{"type", "boolean"}});
        case 3: return Json::object({{"type", "null"}});
        case 4: return Json::object({{"enum", list({scalar(), scalar(), scalar()})}});
        default: return Json::object({{"const", maybe(50) ? scalar() : Json::object({{"k", list({Json(1), scalar()})}})}});
      }
    }
    if (kind < 60) return object(depth);
    if (kind < 75) return array(depth);
    if (kind < 83) return Json::object({{"anyOf", list({schema(depth - 1), schema(depth - 1)})}});
    if (kind < 88) return Json::object({{"oneOf", list({string(), number(), array(depth - 1), Json::object({{"type", "null"}})})}});
    if (kind < 93) {
      Json first = *Json::parse(R"({"type":"object","properties":{"p":{"type":"integer","minimum":-3}},"required":["p"]})", "x");
      Json second = Json::object({{"properties", Json::object({{"p", Json::object({{"maximum", 30}})}, {"q", schema(depth - 1)}})}});
      return Json::object({{"allOf", list({first, second})}});
    }
    if (kind < 97) return Json::object({{"$ref", maybe(50) ? "#/$defs/leaf" : "#/$defs/tree"}});
    return *Json::parse(R"({"type":["string","integer"],"maxLength":5,"maximum":9})", "x");
  }

  Random random_;
};

bool is_type(const Json& value, std::string_view type) {
  if (type == "number") return value.is_number();
  if (type == "integer") return value.is_number() && value.as_double() == std::floor(value.as_double());
  return json_type(value) == type;
}
double length_of(std::string_view text) {
  double n = 0;
  for (const char c : text) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return n;
}

/// What the keywords that Maker uses mean, straight from the specification.
bool valid(const Json& root, const Json& s, const Json& v) {
  if (s.is_bool()) return s.as_bool();
  const auto each = [&](std::string_view key, auto test) {
    const Json* found = s.find(key);
    return found == nullptr || test(*found);
  };
  const auto count = [&](std::string_view key) {
    int64_t n = 0;
    for (const Json& part : s.find(key)->elements()) n += valid(root, part, v);
    return n;
  };
  bool ok = each("$ref", [&](const Json& ref) { return valid(root, *root.find("$defs")->find(ref.as_string().substr(8)), v); });
  ok = ok && each("allOf", [&](const Json& all) { return count("allOf") == static_cast<int64_t>(all.size()); });
  ok = ok && each("anyOf", [&](const Json&) { return count("anyOf") > 0; });
  ok = ok && each("oneOf", [&](const Json&) { return count("oneOf") == 1; });
  ok = ok && each("const", [&](const Json& c) { return c == v; });
  ok = ok && each("enum", [&](const Json& list) { return std::find(list.elements().begin(), list.elements().end(), v) != list.elements().end(); });
  ok = ok && each("type", [&](const Json& type) {
         return type.is_string() ? is_type(v, type.as_string())
                                 : std::any_of(type.elements().begin(), type.elements().end(), [&](const Json& t) { return is_type(v, t.as_string()); });
       });
  if (v.is_number()) {
    const double x = v.as_double();
    ok = ok && each("minimum", [&](const Json& b) { return x >= b.as_double(); }) && each("maximum", [&](const Json& b) { return x <= b.as_double(); }) &&
         each("exclusiveMinimum", [&](const Json& b) { return x > b.as_double(); }) &&
         each("exclusiveMaximum", [&](const Json& b) { return x < b.as_double(); });
  }
  if (v.is_string()) {
    const std::string text(v.as_string());
    ok = ok && each("minLength", [&](const Json& n) { return length_of(text) >= n.as_double(); }) &&
         each("maxLength", [&](const Json& n) { return length_of(text) <= n.as_double(); }) &&
         each("pattern", [&](const Json& p) { return std::regex_search(text, std::regex(std::string(p.as_string()))); });
  }
  if (v.is_array()) {
    const Json* prefix = s.find("prefixItems");
    for (std::size_t i = 0; i < v.size() && ok; ++i) {
      const Json* item = prefix != nullptr && i < prefix->size() ? &prefix->elements()[i] : s.find("items");
      ok = item == nullptr || valid(root, *item, v.elements()[i]);
    }
    ok = ok && each("minItems", [&](const Json& n) { return static_cast<double>(v.size()) >= n.as_double(); }) &&
         each("maxItems", [&](const Json& n) { return static_cast<double>(v.size()) <= n.as_double(); });
  }
  if (v.is_object()) {
    const Json* named = s.find("properties");
    for (const auto& [name, member] : v.members()) {
      const Json* of_name = named == nullptr ? nullptr : named->find(name);
      const Json* rule = of_name != nullptr ? of_name : s.find("additionalProperties");
      ok = ok && (rule == nullptr || valid(root, *rule, member));
    }
    ok = ok && each("required", [&](const Json& names) {
           return std::all_of(names.elements().begin(), names.elements().end(), [&](const Json& n) { return v.find(n.as_string()) != nullptr; });
         });
  }
  return ok;
}

TEST(JsonSchema, RandomTextsUnderRandomSchemasAreValid) {
  const nbl::testing::ByteTokenizer bytes;
  const auto trie = TokenTrie::create(bytes, bytes.vocab_size());
  int impossible = 0;
  constexpr int kSchemas = 400;
  for (int n = 0; n < kSchemas; ++n) {
    const Json schema = Maker(static_cast<uint64_t>(n) + 100).document();
    const auto grammar = grammar_from_schema(schema.dump());
    if (!grammar.ok() && grammar.status().message().find("no text matches") != std::string::npos) {
      ++impossible;
      continue;
    }
    ASSERT_TRUE(grammar.ok()) << schema.dump() << "\n" << grammar.status().message();
    const auto engine = std::make_shared<GrammarEngine>(*grammar, trie, std::vector<text::TokenId>{0});
    Random random(static_cast<uint64_t>(n));
    for (int walk = 0; walk < 3; ++walk) {
      auto matcher = *GrammarMatcher::create(engine);
      std::string text;
      for (int64_t left = 300; left > 0 && !matcher.finished(); --left) {
        const auto mask = *matcher.mask(left - 1, true);
        std::vector<text::TokenId> allowed;
        for (text::TokenId id = 0; id < bytes.vocab_size(); ++id)
          if ((mask[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0) allowed.push_back(id);
        ASSERT_FALSE(allowed.empty()) << schema.dump() << "\n" << text;
        const text::TokenId id = allowed[random.next() % allowed.size()];
        if (id == 0) break;
        ASSERT_TRUE(matcher.accept(id).ok());
        text += static_cast<char>(id - 1);
      }
      ASSERT_TRUE(matcher.accepting()) << schema.dump() << "\n" << text;
      const auto value = Json::parse(text, "the text");
      ASSERT_TRUE(value.ok()) << schema.dump() << "\n" << text << "\n" << value.status().message();
      EXPECT_TRUE(valid(schema, schema, *value)) << schema.dump() << "\n" << text;
    }
  }
  EXPECT_LT(impossible, kSchemas / 10);
}

TEST(JsonSchema, BoundsOfManyDigits) {
  const nbl::testing::ByteTokenizer bytes;
  const auto trie = TokenTrie::create(bytes, bytes.vocab_size());
  const auto admits = [&](const std::string& keywords, std::string_view text) {
    const auto grammar = grammar_from_schema("{\"type\":\"number\"," + keywords + "}");
    EXPECT_TRUE(grammar.ok()) << keywords << ": " << grammar.status().message();
    if (!grammar.ok()) return false;
    GrammarEngine engine(*grammar, trie, {0});
    const auto state = *engine.next(*engine.start(), text);
    return state != GrammarEngine::kDead && engine.accepting(state);
  };
  EXPECT_TRUE(admits("\"maximum\":-1.0499999999999998", "-1.05"));
  EXPECT_TRUE(admits("\"maximum\":-1.0499999999999998", "-1.0499999999999998"));
  EXPECT_FALSE(admits("\"maximum\":-1.0499999999999998", "-1.0499999999999996"));
  EXPECT_FALSE(admits("\"maximum\":-1.0499999999999998", "-1.04"));
  EXPECT_FALSE(admits("\"exclusiveMaximum\":-1.0499999999999998", "-1.0499999999999998"));
  EXPECT_TRUE(admits("\"minimum\":1e-7", "0.0000001"));
  EXPECT_FALSE(admits("\"minimum\":1e-7", "0.00000009"));
  EXPECT_FALSE(admits("\"exclusiveMinimum\":1e-7", "0.0000001"));
  EXPECT_TRUE(admits("\"minimum\":0,\"maximum\":0.30000000000000004", "0.3"));
  EXPECT_FALSE(grammar_from_schema(R"({"type":"number","minimum":1e-300})").ok());
  EXPECT_FALSE(grammar_from_schema(R"({"type":"number","minimum":1e15})").ok());
}

}  // namespace
}  // namespace nbl::model
