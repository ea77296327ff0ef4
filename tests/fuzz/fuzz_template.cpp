// A template: compiling it, and rendering it with a conversation.
#include "fuzz/fuzz.h"
#include "text/chat_template.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const nbl::Json variables =
      nbl::Json::parse(R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hey",
                           "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, 2.5, null]}}}]}],
                           "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
                           "add_generation_prompt": true, "bos_token": "<s>", "n": 7, "l": [3, 1, 2], "s": "a\u00fc b"})",
                       "variables")
          .value();
  nbl::text::TemplateOptions options = nbl::text::chat_template_options();
  options.limits.max_steps = 100000;  // a run of the fuzzer has many of them to do
  options.limits.max_memory_bytes = 16 << 20;
  const auto made = nbl::text::Template::compile(nbl::fuzz::text_of(data, size), "input", options);
  if (nbl::fuzz::failed(made)) return 0;
  (void)nbl::fuzz::failed(made.value().render(variables, std::tm{}));
  return 0;
}
