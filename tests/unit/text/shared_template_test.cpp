// Published chat templates, where the shared data lies: they render, and give the outline that their formats have.
// Their texts are compared with transformers' in tests/interop.
#include <gtest/gtest.h>

#include "shared_data.h"
#include "text/chat_template.h"

namespace nbl::text {
namespace {

TEST(SharedTemplates, Render) {
  const auto folder = testing::shared_dir() / "data" / "tokenizers";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder.string() << " is not there; set NIBBLE_SHARED";
  const Json chat = Json::parse(R"([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hey"},
                                    {"role": "user", "content": "Bye"}])",
                                "chat")
                        .value();
  const Json settings = Json::parse(R"({"add_generation_prompt": true})", "settings").value();
  for (const auto& [name, text] :
       {std::pair{"gemma",
                  "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHey<end_of_turn>\n"
                  "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"},
        std::pair{"qwen3",
                  "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHey<|im_end|>\n"
                  "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"}}) {
    ChatTemplates templates;
    const Json config =
        Json::parse(testing::read_file(folder / ("chat-template-" + std::string(name)) / "tokenizer_config.json"), name)
            .value();
    ASSERT_TRUE(read_chat_config(config, &templates).ok());
    const auto made = templates.apply(chat, Json(), settings);
    ASSERT_TRUE(made.ok()) << made.status().message();
    EXPECT_EQ(*made, text);
  }
}

}  // namespace
}  // namespace nbl::text
