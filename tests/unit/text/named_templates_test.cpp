// Where chat templates come from, and which of several is taken.
#include <gtest/gtest.h>

#include "support/temp_dir.h"
#include "text/assets.h"

namespace nbl::text {
namespace {

std::string applied(const ChatTemplates& templates, const Json& settings, bool tools) {
  Json list = Json::array();
  list.push_back(Json::object({{"role", "user"}, {"content", "x"}}));
  Json offered;
  if (tools) {
    offered = Json::array();
    offered.push_back(Json::object({{"name", "f"}}));
  }
  const auto text = templates.apply(list, offered, settings);
  return text.ok() ? *text : text.status().message();
}

TEST(NamedTemplates, OfAConfigAFileAndAFolder) {
  nbl::test::TempDir directory;
  directory.write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "old"},
    {"name": "tool_use", "template": "tools of the config"}, {"name": "rag", "template": "rag of the config"}]})");
  const auto load = [&] { return *load_chat_templates(*assets_at(directory.path()), nullptr); };
  const Json none = Json::object();
  EXPECT_EQ(applied(*load(), none, false), "old");
  EXPECT_EQ(applied(*load(), none, true), "tools of the config");
  EXPECT_EQ(applied(*load(), Json::object({{"chat_template", "rag"}}), false), "rag of the config");
  EXPECT_EQ(applied(*load(), Json::object({{"chat_template", "{{ messages[0].content }}!"}}), false), "x!");

  directory.write("chat_template.jinja", "new");
  std::filesystem::create_directory(directory / "additional_chat_templates");
  directory.write("additional_chat_templates/tool_use.jinja", "tools of the folder");
  directory.write("additional_chat_templates/brief.jinja", "brief");
  directory.write("additional_chat_templates/notes.txt", "none");
  EXPECT_EQ(applied(*load(), none, false), "new");
  EXPECT_EQ(applied(*load(), none, true), "tools of the folder");
  EXPECT_EQ(applied(*load(), Json::object({{"chat_template", "brief"}}), false), "brief");
  EXPECT_EQ(applied(*load(), Json::object({{"chat_template", "rag"}}), true), "rag of the config");
}

}  // namespace
}  // namespace nbl::text
