// nibble run
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/cli.h"
#include "cli/conversation.h"
#include "cli/json_text.h"

namespace nibble::cli {
namespace {

struct Args {
  std::string model, prompt, prompt_file;
  Session::GenerateOptions generate;
  int64_t context = 0;
  bool chat = false;
  std::string system, tools;
  std::vector<std::string> variables;
};

/// The prompt as one message of a user, in the model's own template.
std::vector<int32_t> chat_prompt(const Tokenizer& tokenizer, const std::string& prompt, const Args& args) {
  std::string messages = args.system.empty() ? "[" : "[" + message_json("system", args.system) + ",";
  messages += message_json("user", prompt) + "]";
  std::map<std::string, std::string> variables;
  for (const std::string& assignment : args.variables) set_variable(assignment, variables);
  const std::string tools = args.tools.empty() ? std::string() : read_file(args.tools);
  return tokenizer.encode(tokenizer.apply_chat_template(messages, tools, template_settings(variables)));
}

int run(const Global& global, const Args& args) {
  const std::string prompt = args.prompt_file.empty() ? args.prompt : read_file(args.prompt_file);
  const Runtime runtime = global.make_runtime();
  const Model model = global.open_model(runtime, args.model);
  const std::vector<int32_t> ids = args.chat ? chat_prompt(model.tokenizer(), prompt, args)
                                             : model.tokenizer().encode(prompt, NBL_ENCODE_SPECIAL);
  if (ids.empty()) throw Failure(kUsage, "the prompt is empty: give -p TEXT or --prompt-file FILE");
  Session session(model,
                  args.context > 0 ? args.context : static_cast<int64_t>(ids.size()) + args.generate.max_new_tokens);
  Session::GenerateOptions options = args.generate;
  options.seed = global.seed;
  const std::string json = session.generate(ids, options, [&](int32_t, std::string_view piece) {
    if (global.tables()) {
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    }
    return !interrupted();
  });
  const Doc doc(json);
  if (global.tables()) fmt::print("\n");
  if (!global.quiet) {
    fmt::print(stderr, "{} prompt tokens at {:.1f} tok/s, {} new at {:.1f} tok/s, finished: {}\n",
               integer(doc.root(), "prompt_tokens"), number(doc.root(), "prefill_tok_s"),
               items(doc.root(), "token_ids").size(), number(doc.root(), "decode_tok_s"),
               text(doc.root(), "finish_reason"));
  }
  emit_json(global, json);
  return interrupted() ? kCancelled : kDone;
}

}  // namespace

void add_run(const Commands& c) {
  auto* command = c.app.add_subcommand("run", "generate text, token by token");
  auto args = std::make_shared<Args>();
  command->add_option("MODEL", args->model, "the model")->required();
  auto* prompt = command->add_option("-p,--prompt", args->prompt, "the text to continue");
  command->add_option("--prompt-file", args->prompt_file, "the file that holds it")->excludes(prompt);
  command->add_option("-n,--tokens", args->generate.max_new_tokens, "tokens to generate at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->capture_default_str();
  command->add_option("--temperature", args->generate.temperature, "0: the likeliest token each time")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--top-k", args->generate.top_k, "choose among the K likeliest; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--top-p", args->generate.top_p, "choose among the likeliest that reach this probability together")
      ->check(CLI::Range(0.0f, 1.0f))
      ->capture_default_str();
  command->add_option("--context", args->context, "positions to make room for (default: what is needed)")
      ->check(CLI::PositiveNumber);
  auto* chat = command->add_flag("--chat", args->chat, "the prompt is a user's message in the model's chat template");
  command->add_option("--system", args->system, "with --chat: the system message")->needs(chat);
  command->add_option("--tools", args->tools, "with --chat: a file with JSON schemas of functions to call")->needs(chat);
  command->add_option("--var", args->variables, "with --chat: NAME=VALUE for the template; repeatable")
      ->needs(chat)
      ->allow_extra_args(false);
  command->add_flag("--ignore-eos", args->generate.ignore_eos, "go on after an end-of-sequence token");
  command->callback([c, args] { c.chosen = [c, args] { return run(c.global, *args); }; });
}

}  // namespace nibble::cli
