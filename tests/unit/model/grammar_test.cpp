#include "model/grammar.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>

#include "model/grammar_matcher.h"
#include "support/byte_tokenizer.h"

namespace nbl::model {
namespace {

using nbl::testing::ByteTokenizer;

/// A vocabulary of the 256 bytes and of some longer tokens; id 0 ends the text.
class WordTokenizer : public ByteTokenizer {
 public:
  explicit WordTokenizer(std::vector<std::string> words) : words_(std::move(words)) {}
  Result<std::string> piece(text::TokenId id) const override {
    if (id < 257) return ByteTokenizer::piece(id);
    return words_[static_cast<std::size_t>(id) - 257];
  }
  int64_t vocab_size() const override { return 257 + static_cast<int64_t>(words_.size()); }

 private:
  std::vector<std::string> words_;
};

std::shared_ptr<GrammarEngine> engine_for(std::shared_ptr<const Grammar> grammar, const text::Tokenizer& tokenizer) {
  return std::make_shared<GrammarEngine>(std::move(grammar), TokenTrie::create(tokenizer, tokenizer.vocab_size() + 3),
                                         std::vector<text::TokenId>{0});
}

bool matches(const std::shared_ptr<const Grammar>& grammar, std::string_view text) {
  static const ByteTokenizer bytes;
  const auto engine = engine_for(grammar, bytes);
  const auto state = engine->next(*engine->start(), text);
  EXPECT_TRUE(state.ok()) << state.status().message();
  return state.ok() && *state != GrammarEngine::kDead && engine->accepting(*state);
}
bool gbnf(std::string_view grammar, std::string_view text) {
  const auto g = parse_gbnf(grammar);
  EXPECT_TRUE(g.ok()) << g.status().message();
  return g.ok() && matches(*g, text);
}
bool schema(std::string_view schema_text, std::string_view text) {
  const auto g = grammar_from_schema(schema_text);
  EXPECT_TRUE(g.ok()) << schema_text << ": " << g.status().message();
  return g.ok() && matches(*g, text);
}

TEST(Gbnf, Matches) {
  EXPECT_TRUE(gbnf("root ::= \"a\" [0-9]+ (\"x\" | \"yy\")? # end", "a12yy"));
  EXPECT_FALSE(gbnf("root ::= \"a\" [0-9]+", "a"));
  EXPECT_TRUE(gbnf("root ::= item{2,3}\nitem ::= \"ab\"", "ababab"));
  EXPECT_FALSE(gbnf("root ::= item{2,3}\nitem ::= \"ab\"", "abababab"));
  EXPECT_TRUE(gbnf("root ::= \"(\" root \")\" | \"\"", "((()))"));
  EXPECT_FALSE(gbnf("root ::= \"(\" root \")\" | \"\"", "((())"));
  EXPECT_TRUE(gbnf("root ::=\n  \"a\"\n  | \"b\" more\n\nmore ::= (\n \"c\"\n \"d\" )*", "bcdcd"));
  EXPECT_TRUE(gbnf("root ::= [^\\x41-\\u00FF]+", "a") == false);
  EXPECT_TRUE(gbnf("root ::= [^a-z]+", "\xF0\x9F\x98\x80\xE4\xB8\xAD" "A"));
  EXPECT_FALSE(gbnf("root ::= [^a-z]+", "\xF0\x9F\x98"));
  EXPECT_TRUE(gbnf("root ::= [\\u4e00-\\u9fff]{2}", "\xE4\xB8\xAD\xE5\x9B\xBD"));
  EXPECT_FALSE(gbnf("root ::= [\\u4e00-\\u9fff]{2}", "\xE4\xB8\xADx"));
  EXPECT_TRUE(gbnf("root ::= . . .", "a\xC3\xA4z"));
  EXPECT_TRUE(gbnf("root ::= (\"a\"? \"b\"?)* \"c\"", "abbac"));
  EXPECT_TRUE(gbnf("root ::= (\"a\"*)* \"c\"", "aaac"));
  EXPECT_TRUE(gbnf("root ::= \"\\\"\\n\\\\\" [\\]a\\-]+", "\"\n\\]-a"));
}

TEST(Gbnf, RefusesWithThePlace) {
  const auto message = [](std::string_view text) { return parse_gbnf(text).status().message(); };
  EXPECT_NE(message("root ::= \"a\" )").find("line 1, column 14"), std::string::npos);
  EXPECT_NE(message("root ::= other").find("\"other\" is used but not defined"), std::string::npos);
  EXPECT_NE(message("x ::= \"a\"").find("no rule \"root\""), std::string::npos);
  EXPECT_NE(message("root ::= root \"a\" | \"b\"").find("left-recursive"), std::string::npos);
  EXPECT_NE(message("root ::= a\na ::= \"\" b\nb ::= \"x\"? a | \"y\"").find("left-recursive"), std::string::npos);
  EXPECT_NE(message("root ::= \"a\" root").find("no text matches"), std::string::npos);
  EXPECT_NE(message("root ::= \"a\nb\"").find("does not end on its line"), std::string::npos);
  EXPECT_NE(message("root ::= [z-a]").find("backwards"), std::string::npos);
  EXPECT_NE(message("root ::= \"a\"{3,2}").find("at least 3"), std::string::npos);
  EXPECT_NE(message("root ::= \"a\"{99999999}").find("more than"), std::string::npos);
  EXPECT_NE(message("root ::= \"\\q\"").find("no escape"), std::string::npos);
  EXPECT_NE(message("root ::= \"a\"\nroot ::= \"b\"").find("twice"), std::string::npos);
}

TEST(Gbnf, HostileGrammarsAreBounded) {
  std::string deep = "root ::= ";
  for (int i = 0; i < 100000; ++i) deep += "(";
  EXPECT_EQ(parse_gbnf(deep).status().code(), Code::invalid_argument);
  // Nested repetitions multiply nothing: a count is a number, not copies.
  EXPECT_TRUE(gbnf("root ::= ((((\"a\"{1000}){1000}){1000}){1000}) | \"b\"", "b"));
  EXPECT_FALSE(parse_gbnf("root ::= (\"a\"?){100000}").ok());
  EXPECT_FALSE(parse_gbnf(std::string(std::size_t{5} << 20, ' ')).ok());
  // As many ways to read a text as there are: the states stay small, or it is refused.
  const auto ambiguous = parse_gbnf("root ::= x x x x x x x x\nx ::= (\"a\" | \"a\" x)?");
  ASSERT_TRUE(ambiguous.ok()) << ambiguous.status().message();
  const ByteTokenizer bytes;
  const auto engine = engine_for(*ambiguous, bytes);
  auto state = engine->start();
  for (int i = 0; i < 60 && state.ok(); ++i) state = engine->next(*state, static_cast<uint8_t>('a'));
  EXPECT_TRUE(state.ok() || state.status().code() == Code::limit);
  // Recursion in the middle is a stack that grows with the text alone.
  const auto nested = *parse_gbnf("root ::= \"(\" root \")\" | \"x\"");
  const auto deep_engine = engine_for(nested, bytes);
  auto at = *deep_engine->start();
  for (int i = 0; i < 20000; ++i) at = *deep_engine->next(at, static_cast<uint8_t>('('));
  EXPECT_EQ(deep_engine->cost(at), 20001);
}

TEST(GrammarMask, IsWhatTheBytesSay) {
  const WordTokenizer tokenizer({"{\"", "\":", "true", "tru", "abc", "12", "1", "}}", "\xC3\xA4", "\xC3", "aaaaaaaaaaaaaaaaaaaa", "0.", "\"}"});
  const auto grammar = *grammar_from_schema(R"({"type":"object","properties":{"a":{"type":"boolean"},
    "bc":{"type":"string","maxLength":30},"n":{"type":"number","minimum":-1.5,"maximum":12}},"required":["a"]})");
  const auto engine = engine_for(grammar, tokenizer);
  std::mt19937 random(5);
  for (int walk = 0; walk < 30; ++walk) {
    auto matcher = *GrammarMatcher::create(engine);
    int64_t left = 90;
    while (!matcher.finished() && left > 0) {
      const auto mask = *matcher.mask(left - 1, true);
      std::vector<text::TokenId> allowed;
      for (text::TokenId id = 0; id < tokenizer.vocab_size() + 3; ++id) {
        const bool bit = (mask[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0;
        auto alone = matcher;
        EXPECT_EQ(bit, *alone.allows(id, left - 1, true)) << "token " << id << " with " << left << " left";
        if (bit && id != 0) allowed.push_back(id);
      }
      if (allowed.empty()) break;
      ASSERT_TRUE(matcher.accept(allowed[random() % allowed.size()]).ok());
      --left;
    }
    EXPECT_TRUE(matcher.accepting()) << "a walk with a budget ends in time";
  }
}

TEST(GrammarMask, CountersFarFromTheirBoundsShareMasks) {
  const ByteTokenizer bytes;
  const auto engine = engine_for(*grammar_from_schema(R"({"type":"string","maxLength":2000})"), bytes);
  auto matcher = *GrammarMatcher::create(engine);
  ASSERT_TRUE(matcher.accept('"' + 1).ok());
  for (int i = 0; i < 1500; ++i) {
    ASSERT_TRUE(matcher.mask(100000, true).ok());
    ASSERT_TRUE(matcher.accept('x' + 1).ok());
  }
  EXPECT_LE(engine->masks_made(), 3);
}

TEST(GrammarMask, TrimmingKeepsWhereTheTextStands) {
  const ByteTokenizer bytes;
  const auto engine = engine_for(*parse_gbnf("root ::= \"(\" root \")\" | \"x\""), bytes);
  auto matcher = *GrammarMatcher::create(engine);
  for (int i = 0; i < 120000; ++i) {
    ASSERT_TRUE(matcher.accept('(' + 1).ok());
    GrammarEngine::State* live[] = {matcher.state()};
    if (i % 30000 == 0) engine->trim(live);
  }
  EXPECT_EQ(engine->cost(*matcher.state()), 120001);
}

TEST(JsonSchema, Accepts) {
  const char* person = R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":130},
    "tags":{"type":"array","items":{"enum":["a","b"]},"maxItems":2}},"required":["name"],"additionalProperties":false})";
  EXPECT_TRUE(schema(person, R"({"name":"x"})"));
  EXPECT_TRUE(schema(person, R"({"name": "x\u00e4\n", "age": 130, "tags": ["a", "b"]})"));
  EXPECT_TRUE(schema(person, "{\n  \"name\": \"x\",\n  \"age\": 7\n}"));
  for (const char* bad : {R"({})", R"({"age": 1})", R"({"name":"x","age":131})", R"({"name":"x","age":-1})", R"({"name":"x","age":01})",
                          R"({"name":"x","tags":["a","b","a"]})", R"({"name":"x","other":1})", R"({"name":"x",})", R"({"name":"\ud800"})"})
    EXPECT_FALSE(schema(person, bad)) << bad;
  EXPECT_TRUE(schema(R"({"type":["null","integer"]})", "null"));
  EXPECT_TRUE(schema(R"({"const":{"a":[1,2.5,"x"]}})", R"({"a":[1,2.5,"x"]})"));
  EXPECT_TRUE(schema("true", R"({"a": [1, {"b": null}], "c": -1.5e3})"));
  EXPECT_TRUE(schema(R"({"type":"object","additionalProperties":{"type":"integer"}})", R"({"x": 1, "y": 2})"));
  EXPECT_FALSE(schema(R"({"type":"object","additionalProperties":{"type":"integer"}})", R"({"x": "1"})"));
  const char* open = R"({"properties":{"ab":{"type":"integer"}},"additionalProperties":{"type":"string"}})";
  EXPECT_TRUE(schema(open, R"({"ab": 1, "abc": "x", "a": "y", "\u0061b": "z"})") == false);
  EXPECT_TRUE(schema(open, R"({"ab": 1, "abc": "x", "a": "y", "b": "z"})"));
  EXPECT_FALSE(schema(open, R"({"ab": 1, "ab": "x"})"));
  const char* tree = R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},
    "next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["v","next"]}}})";
  EXPECT_TRUE(schema(tree, R"({"v":1,"next":{"v":2,"next":null}})"));
  EXPECT_FALSE(schema(tree, R"({"v":1,"next":{"v":2}})"));
  EXPECT_TRUE(schema(R"({"prefixItems":[{"type":"integer"},{"type":"string"}],"minItems":2})", R"([1, "a"])"));
  EXPECT_TRUE(schema(R"({"items":[{"type":"integer"}],"additionalItems":{"type":"null"}})", R"([1, null, null])"));
  EXPECT_FALSE(schema(R"({"type":"array","items":{"type":"integer"},"minItems":2})", "[1]"));
  EXPECT_TRUE(schema(R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},
    {"properties":{"a":{"minimum":5},"b":{"type":"null"}},"required":["b"]}]})", R"({"a":5,"b":null})"));
  EXPECT_FALSE(schema(R"({"allOf":[{"type":"integer"},{"minimum":5}]})", "4"));
  EXPECT_TRUE(schema(R"({"oneOf":[{"type":"object","properties":{"k":{"const":"x"}},"required":["k"]},
    {"type":"object","properties":{"k":{"const":"y"},"z":{"type":"integer"}},"required":["k"]},{"type":"string"}]})", R"({"k":"y","z":3})"));
}

TEST(JsonSchema, StringsAndNumbersWithinBounds) {
  const char* pattern = R"({"type":"string","pattern":"^[a-c]{2,3}(-\\d+)?$"})";
  EXPECT_TRUE(schema(pattern, "\"abc-42\""));
  EXPECT_FALSE(schema(pattern, "\"abcd\""));
  EXPECT_TRUE(schema(R"({"type":"string","pattern":"b\\.c"})", "\"aab.cd\""));
  EXPECT_TRUE(schema(R"({"type":"string","pattern":"^\"\\\\$"})", R"("\"\\")"));
  EXPECT_TRUE(schema(R"({"type":"string","pattern":"^[a-z]+$","minLength":2,"maxLength":4})", "\"abcd\""));
  EXPECT_FALSE(schema(R"({"type":"string","pattern":"^[a-z]+$","minLength":2,"maxLength":4})", "\"abcde\""));
  EXPECT_FALSE(schema(R"({"type":"string","pattern":"^[a-z]+$","minLength":2})", "\"a\""));
  EXPECT_TRUE(schema(R"({"type":"string","minLength":2,"maxLength":2})", "\"\xF0\x9F\x98\x80\\n\""));
  EXPECT_TRUE(schema(R"({"format":"date-time"})", "\"2024-02-28T23:59:59.5Z\""));
  EXPECT_FALSE(schema(R"({"format":"date"})", "\"2024-02-30\""));
  EXPECT_TRUE(schema(R"({"format":"uuid"})", "\"01234567-89ab-cdef-0123-456789abcdef\""));

  // Every decimal with up to two digits after the point, against the comparison itself.
  struct Case {
    const char* keywords;
    double low, high;
    bool low_open, high_open;
  };
  for (const Case& c : {Case{"\"minimum\":-12.5,\"maximum\":7", -12.5, 7, false, false},
                        Case{"\"exclusiveMinimum\":0,\"maximum\":1", 0, 1, true, false},
                        Case{"\"minimum\":3,\"exclusiveMaximum\":20.25", 3, 20.25, false, true},
                        Case{"\"exclusiveMinimum\":-3,\"exclusiveMaximum\":-0.5", -3, -0.5, true, true},
                        Case{"\"minimum\":99.9", 99.9, 1e300, false, false}, Case{"\"maximum\":-7", -1e300, -7, false, false}}) {
    for (const bool integer : {false, true}) {
      const auto g = grammar_from_schema(std::string("{\"type\":\"") + (integer ? "integer" : "number") + "\"," + c.keywords + "}");
      ASSERT_TRUE(g.ok()) << g.status().message();
      const ByteTokenizer bytes;
      const auto engine = engine_for(*g, bytes);
      for (int hundredths = -13100; hundredths <= 13100; ++hundredths) {
        if (integer && hundredths % 100 != 0) continue;
        std::string text = std::to_string(std::abs(hundredths) / 100);
        if (hundredths % 100 != 0) {
          const int rest = std::abs(hundredths) % 100;
          text += rest < 10 ? ".0" : ".";
          text += std::to_string(rest % 10 == 0 ? rest / 10 : rest);
        }
        if (hundredths < 0) text = "-" + text;
        const double x = hundredths / 100.0;
        const bool in = (c.low_open ? x > c.low : x >= c.low) && (c.high_open ? x < c.high : x <= c.high);
        const auto state = *engine->next(*engine->start(), text);
        EXPECT_EQ(state != GrammarEngine::kDead && engine->accepting(state), in) << c.keywords << ": " << text;
      }
    }
  }
}

TEST(JsonSchema, HostileSchemasAreBounded) {
  const auto with_name = [](std::size_t length) {
    return grammar_from_schema(R"({"additionalProperties":{"type":"integer"},"properties":{")" + std::string(length, 'a') +
                               R"(":{"type":"integer"}}})");
  };
  ASSERT_TRUE(with_name(2000).ok()) << with_name(2000).status().message();  // longer than rules nest
  EXPECT_EQ(with_name(300'000).status().code(), Code::limit);                // this overflowed the stack
  // Other names than a long one: shorter, longer and differing ones, and not that one itself.
  const std::string name(200, 'a');
  const auto grammar = *grammar_from_schema(R"({"type":"object","additionalProperties":{"type":"null"},"properties":{")" + name +
                                            R"(":{"type":"integer"}}})");
  const ByteTokenizer bytes;
  const auto engine = engine_for(grammar, bytes);
  const auto accepts = [&](const std::string& text) {
    const auto state = *engine->next(*engine->start(), text);
    return state != GrammarEngine::kDead && engine->accepting(state);
  };
  EXPECT_TRUE(accepts("{\"" + name + "\":1}"));
  EXPECT_FALSE(accepts("{\"" + name + "\":null}"));
  for (const std::string& other : {name + "a", name.substr(1), name.substr(0, 64), name.substr(0, 63) + "b", name.substr(0, 199) + "b", std::string()})
    EXPECT_TRUE(accepts("{\"" + other + "\":null}")) << other;
  std::string many = "{\"enum\":[0";
  for (int i = 1; i < 5000; ++i) many += "," + std::to_string(i);
  many += "]}";
  EXPECT_EQ(grammar_from_schema("{\"allOf\":[" + many + "," + many.substr(0, many.size() - 2) + ",\"x\"]}]}").status().code(), Code::limit);
  EXPECT_EQ(grammar_from_schema(R"({"type":"string","pattern":"^.*$","minLength":16000})").status().code(), Code::limit);
}

/// Whether a text is one of a schema's.
bool holds(std::string_view schema, std::string_view text) {
  const auto grammar = grammar_from_schema(schema);
  EXPECT_TRUE(grammar.ok()) << grammar.status().message();
  if (!grammar.ok()) return false;
  const ByteTokenizer bytes;
  const auto engine = engine_for(*grammar, bytes);
  const auto state = *engine->next(*engine->start(), text);
  return state != GrammarEngine::kDead && engine->accepting(state);
}

TEST(JsonSchema, MultiplesAreDivided) {
  for (const auto& [schema, step, low, high] : std::initializer_list<std::tuple<const char*, int, int, int>>{
           {R"({"type":"integer","multipleOf":7})", 7, -500, 500},
           {R"({"type":"integer","multipleOf":3,"minimum":-20,"exclusiveMaximum":105})", 3, -20, 104},
           {R"({"type":"integer","multipleOf":12,"minimum":95})", 12, 95, 500},
           {R"({"type":"number","multipleOf":2.5,"maximum":60})", 5, -500, 60},
           {R"({"multipleOf":0.01,"minimum":0,"maximum":40})", 1, 0, 40}}) {
    const ByteTokenizer bytes;
    const auto engine = engine_for(grammar_from_schema(schema).value(), bytes);
    for (int i = -500; i <= 500; ++i) {
      const auto state = *engine->next(*engine->start(), std::to_string(i));
      const bool held = state != GrammarEngine::kDead && engine->accepting(state);
      ASSERT_EQ(held, i % step == 0 && i >= low && i <= high) << schema << ": " << i;
    }
  }
  EXPECT_TRUE(holds(R"({"type":"integer","multipleOf":1000})", "123456789000"));
  EXPECT_FALSE(holds(R"({"type":"integer","multipleOf":1000})", "123456789100"));
  EXPECT_FALSE(holds(R"({"type":"number","multipleOf":0.5})", "0.5"));  // whole multiples alone are written
}

TEST(JsonSchema, ItemsOfFewValuesMayBeUnique) {
  const char* schema = R"({"type":"array","items":{"enum":["a","b",3,3]},"uniqueItems":true,"minItems":1})";
  for (const char* text : {R"(["a"])", R"([3,"a"])", R"(["b","a",3])"}) EXPECT_TRUE(holds(schema, text)) << text;
  for (const char* text : {"[]", R"(["a","a"])", R"(["a",3,"b",3])", "[3,3]", R"(["c"])"}) EXPECT_FALSE(holds(schema, text)) << text;
  const char* flags = R"({"type":"array","items":{"type":"boolean"},"uniqueItems":true,"maxItems":1})";
  EXPECT_TRUE(holds(flags, "[]"));
  EXPECT_FALSE(holds(flags, "[true,false]"));
}

TEST(JsonSchema, RefusesByName) {
  const auto message = [](std::string_view text) { return grammar_from_schema(text).status().message(); };
  for (const auto& [text, name] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({"not":{"type":"null"}})", "\"not\""},
           {R"({"type":"array","uniqueItems":true})", "uniqueItems"},
           {R"({"type":"array","items":{"type":"string"},"uniqueItems":true})", "uniqueItems"},
           {R"({"type":"integer","multipleOf":1001})", "multipleOf"},
           {R"({"type":"number","multipleOf":0.1,"minimum":0.1,"maximum":0.9})", "multipleOf"},
           {R"({"properties":{"a":{"if":{}}}})", "\"if\""},
           {R"({"type":"string","pattern":"(?=a)b"})", "(?="},
           {R"({"type":"string","pattern":"\\bword"})", "\\b"},
           {R"({"type":"string","format":"regex"})", "regex"},
           {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "may both hold"},
           {R"({"$ref":"other.json"})", "leads elsewhere"},
           {R"({"$ref":"#/$defs/x"})", "leads nowhere"},
           {R"({"$ref":"#"})", "refer to themselves"},
           {R"({"type":"object","properties":{"a":true},"minProperties":1})", "minProperties"},
           {R"({"type":"thing"})", "no type"},
           {R"({"prefixItems":{"type":"string"},"minItems":2})", "\"prefixItems\" is not a list of schemas"},
           {R"({"type":"integer","minimum":3,"maximum":2})", "no text matches"},
           {R"({"type":)", "JSON schema"}})
    EXPECT_NE(message(text).find(name), std::string::npos) << text << ": " << message(text);
}

TEST(JsonSchema, AKeywordOfTheWrongKindIsRefusedOrMeansNothing) {
  for (const char* keyword :
       {"type", "enum", "const", "properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties",
        "maxProperties", "items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "minLength", "maxLength",
        "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "anyOf", "oneOf", "allOf", "$ref",
        "$defs", "definitions"})
    for (const char* value : {"null", "true", "1", "-1", "1e30", R"("a")", "[]", "[1]", "[[]]", R"([{"type":"string"}])", "{}",
                              R"({"type":"string"})", R"({"a":1})"})
      for (const char* beside : {R"("minItems":2)", R"("type":"object","required":["a","b"])", R"("enum":[[1],{"a":1},"a",2])"}) {
        const std::string text = fmt::format(R"({{{},"{}":{}}})", beside, keyword, value);
        const auto made = grammar_from_schema(text);
        EXPECT_TRUE(made.ok() || !made.status().message().empty()) << text;
        EXPECT_NE(made.status().code(), Code::internal) << text;
      }
}

}  // namespace
}  // namespace nbl::model
