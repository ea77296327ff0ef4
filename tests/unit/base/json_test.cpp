#include "base/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace nbl {
namespace {

Json parsed(std::string_view text) {
  auto r = Json::parse(text, "test");
  EXPECT_TRUE(r.ok()) << r.status().message();
  return r.ok() ? *r : Json();
}

Status failure(std::string_view text, const JsonLimits& limits = {}) {
  return Json::parse(text, "config.json in DIR", limits).status();
}

TEST(Json, ReadsEveryKind) {
  const Json j = parsed(R"({"n":null,"t":true,"i":-7,"r":2.5,"s":"aé\n\"","a":[1,[2]],"o":{"k":1e3}})");
  EXPECT_TRUE(j.find("n")->is_null());
  EXPECT_EQ(j.find_value("n"), nullptr);
  EXPECT_TRUE(j.find("t")->as_bool());
  EXPECT_EQ(j.find("i")->as_int(), -7);
  EXPECT_EQ(j.find("i")->as_double(), -7.0);
  EXPECT_EQ(j.find("r")->as_double(), 2.5);
  EXPECT_EQ(j.find("r")->as_int(99), 99);
  EXPECT_EQ(j.find("s")->as_string(), "a\xc3\xa9\n\"");
  EXPECT_EQ(j.find("a")->elements()[1].elements()[0].as_int(), 2);
  EXPECT_FALSE(j.find("o")->find("k")->is_int());
  EXPECT_EQ(j.find("o")->find("k")->as_int(), 1000);
  EXPECT_EQ(j.find("absent"), nullptr);
  EXPECT_EQ(j.size(), 7U);
  EXPECT_EQ(parsed("12").as_int(), 12);
}

TEST(Json, KeepsOrderAndRoundTrips) {
  const std::string text = R"({"z":1,"a":[true,null,"x\u0001"],"m":{"y":0.1,"b":[]},"e":{}})";
  EXPECT_EQ(parsed(text).dump(), text);
  EXPECT_EQ(parsed(parsed(text).dump(2)).dump(), text);
  EXPECT_EQ(parsed(R"({"a":[1]})").dump(2), "{\n  \"a\": [\n    1\n  ]\n}");
}

TEST(Json, RealsReadBackExactly) {
  for (const double v : {0.1, 1.0, -0.0, 1e300, 5e-324, 1e22, 123456789.125, std::numeric_limits<double>::max()}) {
    const Json j = parsed(Json(v).dump());
    EXPECT_EQ(j.kind(), Json::Kind::real) << Json(v).dump();
    EXPECT_EQ(j.as_double(), v) << Json(v).dump();
  }
  EXPECT_EQ(Json(std::nan("")).dump(), "null");
  EXPECT_EQ(Json(std::numeric_limits<double>::infinity()).dump(), "null");
}

TEST(Json, IntegersBeyond64BitsAreReals) {
  const Json j = parsed(R"({"model_max_length": 1000000000000000019884624838656, "s": "12345678901234567890123 \" 1",
                            "u":18446744073709551615, "m":-9223372036854775808, "d":-12345678901234567890.5e0})");
  EXPECT_EQ(j.find("model_max_length")->as_double(), 1e30);
  EXPECT_FALSE(j.find("model_max_length")->is_int());
  EXPECT_EQ(j.find("model_max_length")->as_int(-1), -1);
  EXPECT_EQ(j.find("s")->as_string(), "12345678901234567890123 \" 1");
  EXPECT_EQ(j.find("u")->as_double(), 18446744073709551615.0);
  EXPECT_EQ(j.find("m")->as_int(), std::numeric_limits<int64_t>::min());
}

TEST(Json, LargeObjectsFindEveryKey) {
  Json j = Json::object();
  for (int i = 0; i < 5000; ++i) j.set("key" + std::to_string(i), i);
  for (const Json& copy : {j, parsed(j.dump())}) {
    ASSERT_EQ(copy.size(), 5000U);
    for (int i = 0; i < 5000; ++i) {
      const Json* v = copy.find("key" + std::to_string(i));
      ASSERT_NE(v, nullptr) << i;
      EXPECT_EQ(v->as_int(), i);
    }
    EXPECT_EQ(copy.find("key5000"), nullptr);
  }
  for (int i = 0; i < 4995; ++i) {
    if (i > 4980 || i < 3) j.erase("key" + std::to_string(i));
  }
  EXPECT_EQ(j.find("key4990"), nullptr);
  EXPECT_EQ(j.find("key4999")->as_int(), 4999);
  j.set("key4999", "new");
  EXPECT_EQ(j.find("key4999")->as_string(), "new");
}

TEST(Json, ComparesObjectsWithoutOrder) {
  EXPECT_EQ(parsed(R"({"a":1,"b":[2]})"), parsed(R"({"b":[2],"a":1})"));
  EXPECT_FALSE(parsed(R"({"a":1})") == parsed(R"({"a":2})"));
  EXPECT_FALSE(parsed("1") == parsed("1.0"));
}

TEST(Json, RefusesBadText) {
  for (const char* text : {"", "  ", "{", "[1,]", "{\"a\":1,}", "{'a':1}", "nul", "1 2", "\"\x80\"", "\"\xed\xa0\x80\"",
                           "\"\\ud800\"", "01", "1.", "1e400", "\"a\nb\"", "[1 2]", "NaN", "{\"a\" 1}"}) {
    const Status s = failure(text);
    EXPECT_EQ(s.code(), Code::corrupt) << text << ": " << s.message();
    EXPECT_NE(s.message().find("config.json in DIR"), std::string::npos) << s.message();
  }
}

TEST(Json, NamesThePlaceOfAnError) {
  const auto place = [](std::string_view text) {
    const std::string m = failure(text).message();
    const std::size_t from = m.find("line ");
    return from == std::string::npos ? m : m.substr(from, m.find(": ", from) - from);
  };
  EXPECT_EQ(place("{\n  \"a\": 1,\n  \"b\" 2\n}"), "line 3, column 7");
  EXPECT_EQ(place("[1, 2"), "line 1, column 6");
  EXPECT_EQ(place("[[], {}, {\"a\":[{}]}, tru]"), "line 1, column 22");
  EXPECT_EQ(place("[1,]"), "line 1, column 4");
  EXPECT_EQ(place("{} x"), "line 1, column 4");
  EXPECT_EQ(place("[1e400]"), "line 1, column 2");
  EXPECT_EQ(place("[1e-400, 01]"), "line 1, column 10");
  EXPECT_EQ(place("[\"ok\\n\\ud83d\\ude00\",\n\"\\ud83dx\"]"), "line 2, column 8");
  EXPECT_EQ(place("[\"a\xc0\xaf\"]"), "line 1, column 4");
  EXPECT_EQ(place("{\"a\":1,}"), "line 1, column 8");
  EXPECT_EQ(place("[\"abc"), "line 1, column 6");
  EXPECT_EQ(
      failure("[\n NaN]").message(),
      "config.json in DIR: not valid JSON at line 2, column 2 (NaN is no JSON number): no value, or a comma, colon or bracket out of place");
  EXPECT_EQ(place("{\"a\": -Infinity}"), "line 1, column 8 (Infinity is no JSON number)");
  EXPECT_EQ(place("\xef\xbb\xbf{}"), "line 1, column 1 (a byte order mark)");
}

// Any single byte of a valid text replaced by any other: parser and place finder never crash, and a text that the
// parser takes is written out and read back to the same value.
TEST(Json, SurvivesEveryOneByteChange) {
  const std::string text = R"({"a":[1,-2.5e3,"x\u00e9\n",{"b":null}],"c":true})";
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (int c = 0; c < 256; ++c) {
      std::string changed = text;
      changed[i] = static_cast<char>(c);
      auto r = Json::parse(changed, "t");
      if (!r.ok()) continue;
      auto again = Json::parse(r->dump(), "t");
      ASSERT_TRUE(again.ok()) << changed;
      ASSERT_TRUE(*again == *r) << changed;
    }
    ASSERT_FALSE(Json::parse(text.substr(0, i), "t").ok()) << i;
  }
}

TEST(Json, MovedFromValuesAreNull) {
  Json a = parsed("[1]");
  const Json b = std::move(a);
  EXPECT_TRUE(a.is_null());  // NOLINT(bugprone-use-after-move)
  a.set("k", 1);
  EXPECT_EQ(a.find("k")->as_int(), 1);
  EXPECT_EQ(b.size(), 1U);
}

TEST(Json, RefusesDuplicateKeys) {
  EXPECT_EQ(failure(R"({"x":{"scale":1,"b":0,"scale":2}})").message(),
            "config.json in DIR: the key 'scale' comes twice in one object");
  std::string many = "{";
  for (int i = 0; i < 100; ++i) many += "\"k" + std::to_string(i) + "\":1,";
  EXPECT_EQ(failure(many + "\"k7\":2}").code(), Code::corrupt);
  EXPECT_TRUE(failure(many + "\"k100\":2}").ok());
}

TEST(Json, BoundsDepthAndSize) {
  const auto nested = [](int n) {
    return std::string(static_cast<std::size_t>(n), '[') + "1" + std::string(static_cast<std::size_t>(n), ']');
  };
  EXPECT_TRUE(failure(nested(100)).ok());
  EXPECT_EQ(failure(nested(200)).code(), Code::limit);
  EXPECT_EQ(failure(nested(100000)).code(), Code::limit);
  EXPECT_EQ(failure(nested(20), {.max_bytes = 1000, .max_depth = 10}).code(), Code::limit);
  EXPECT_EQ(failure("[1, 2, 3]", {.max_bytes = 4}).message(),
            "config.json in DIR: 9 bytes of JSON, more than the 4 that are read");
}

TEST(Json, MembersWithDefaults) {
  const Json j = parsed(R"({"i":3,"r":4.0,"h":4.5,"s":"x","z":null})");
  EXPECT_EQ(*j.int_or("i", 9), 3);
  EXPECT_EQ(*j.int_or("r", 9), 4);
  EXPECT_EQ(*j.int_or("z", 9), 9);
  EXPECT_EQ(*j.int_or("q", 9), 9);
  EXPECT_EQ(*j.double_or("i", 0), 3.0);
  EXPECT_EQ(j.int_or("h", 0).status().message(), "'h' must be an integer, found 4.5");
  EXPECT_EQ(j.bool_or("i", false).status().message(), "'i' must be true or false, found 3");
  EXPECT_EQ(j.get_string("q").status().message(), "'q' is missing");
  EXPECT_EQ(j.get_string("z").status().message(), "'z' is missing");
  EXPECT_EQ(*j.get_string("s"), "x");
}

}  // namespace
}  // namespace nbl
