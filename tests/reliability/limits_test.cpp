// The bounds on untrusted input can be listed and changed, and what is over one of them is refused by name.
#include "base/json.h"
#include "support/temp_dir.h"
#include "unit/capi/fixtures.h"

namespace nbl::test {
namespace {

TEST(Limits, AreListedWithDefaultsThatAreInForce) {
  const auto list = Json::parse(nbl_limits_json(), "limits");
  ASSERT_TRUE(list.ok()) << list.status().message();
  ASSERT_GT(list->elements().size(), 40u);
  for (const Json& each : list->elements()) {
    const std::string name = *each.get_string("name");
    EXPECT_EQ(nbl_limit_get(name.c_str()), *each.get_int("default")) << name;
    EXPECT_GE(*each.get_int("max"), *each.get_int("default")) << name;
    EXPECT_FALSE(each.get_string("help")->empty()) << name;
  }
  EXPECT_EQ(nbl_limit_get("no_such_limit"), 0);
  EXPECT_EQ(nbl_limit_get(nullptr), 0);
}

TEST(Limits, EveryOneIsDocumented) {
  const std::string page = read_file(source_file("docs/limits.md"));
  const auto list = Json::parse(nbl_limits_json(), "limits");
  ASSERT_TRUE(list.ok());
  for (const Json& each : list->elements()) {
    const std::string name = *each.get_string("name");
    EXPECT_NE(page.find("| `" + name + "` | " + std::to_string(*each.get_int("default")) + " |"), std::string::npos)
        << name << " with its default is missing from docs/limits.md";
  }
}

TEST(Limits, AreCheckedThemselves) {
  EXPECT_REFUSED(NBL_E_NOT_FOUND, "no_such_limit", nbl_limit_set("no_such_limit", 1));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "name", nbl_limit_set(nullptr, 1));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "json_depth", nbl_limit_set("json_depth", 1000));
  EXPECT_REFUSED(NBL_E_INVALID_ARGUMENT, "json_depth", nbl_limit_set("json_depth", -1));
}

/// Sets a limit for as long as it lives.
struct Lowered {
  const char* name;
  Lowered(const char* limit, int64_t value) : name(limit) { EXPECT_NBL_OK(nbl_limit_set(limit, value)); }
  ~Lowered() { EXPECT_NBL_OK(nbl_limit_set(name, 0)); }
};

TEST(Limits, WhatTheCallerLowersIsRefused) {
  const Runtime runtime = make_runtime(1);
  nbl_model* model = nullptr;
  const auto open = [&] { return nbl_model_open(runtime.get(), model_path().c_str(), nullptr, &model); };
  {
    const Lowered lowered("safetensors_header_bytes", 100);
    EXPECT_REFUSED(NBL_E_CORRUPT, "100", open());
  }
  {
    const Lowered lowered("config_bytes", 10);
    EXPECT_REFUSED(NBL_E_LIMIT, "config.json", open());
  }
  {
    const Lowered lowered("tokenizer_tokens", 100);
    nbl_tokenizer* tokenizer = nullptr;
    EXPECT_REFUSED(NBL_E_LIMIT, "100", nbl_tokenizer_open(runtime.get(), model_path().c_str(), &tokenizer));
  }
  {
    const Lowered lowered("model_layers", 1);
    EXPECT_NE(open(), NBL_OK);
  }
  ASSERT_NBL_OK(open());
  const Model held(model);
  const Session session = make_session(held, 16);
  const Lowered lowered("grammar_bytes", 4);
  const nbl_status status = nbl_session_set(session.get(), "grammar", "root ::= \"a\"");
  if (status == NBL_OK) {  // grammars may be read when they are first used
    nbl_buffer* out = nullptr;
    const int32_t id = 1;
    EXPECT_REFUSED(NBL_E_LIMIT, "4 bytes", nbl_session_generate(session.get(), &id, 1, nullptr, &out));
  } else {
    EXPECT_EQ(status, NBL_E_LIMIT);
  }
}

}  // namespace
}  // namespace nbl::test
