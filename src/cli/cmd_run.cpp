// nibble run
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/cli.h"
#include "cli/json_text.h"

namespace nibble::cli {
namespace {

struct Args {
  std::string model, prompt, prompt_file;
  Session::GenerateOptions generate;
  int64_t context = 0;
};

int run(const Global& global, const Args& args) {
  const std::string prompt = args.prompt_file.empty() ? args.prompt : read_file(args.prompt_file);
  const Runtime runtime = global.make_runtime();
  const Model model = global.open_model(runtime, args.model);
  const std::vector<int32_t> ids = model.tokenizer().encode(prompt, NBL_ENCODE_SPECIAL);
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
  command->add_flag("--ignore-eos", args->generate.ignore_eos, "go on after an end-of-sequence token");
  command->callback([c, args] { c.chosen = [c, args] { return run(c.global, *args); }; });
}

}  // namespace nibble::cli
