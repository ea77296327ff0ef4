// A template: compiling it, and rendering it with a conversation.

#include "base/file.h"
#include "fuzz/fuzz.h"
#include "text/chat_template.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // The variables of the golden templates, which are seeds, and those of a conversation.
  static const nbl::Json variables = [] {
    const std::string golden = nbl::read_text_file(NIBBLE_SOURCE_DIR "/tests/golden/chat/golden.json", 1 << 26).value();
    nbl::Json all = *nbl::Json::parse(golden, "golden.json")->find_value("values");
    all.set("tools", *nbl::Json::parse(R"([{"type": "function", "function": {"name": "f", "parameters": {}}}])", "tools"));
    all.set("add_generation_prompt", true);
    all.set("bos_token", "<s>");
    return all;
  }();
  nbl::text::TemplateOptions options = nbl::text::chat_template_options();
  options.limits.max_steps = 100000;  // a run of the fuzzer has many of them to do
  options.limits.max_memory_bytes = 16 << 20;
  const auto made = nbl::text::Template::compile(nbl::fuzz::text_of(data, size), "input", options);
  if (nbl::fuzz::failed(made)) return 0;
  (void)nbl::fuzz::failed(made.value().render(variables, std::tm{}));
  return 0;
}
