// nibble run
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>

#include "cli/cli.h"
#include "cli/conversation.h"
#include "cli/json_text.h"
#include "cli/table.h"

namespace nibble::cli {
namespace {

/// An option that is a setting of the library's as it is.
struct Plain {
  const char* flag;
  const char* setting;
  const char* help;
};
constexpr Plain kPlain[] = {
    {"--temperature,--temp", "temperature", "0: the likeliest token each time"},
    {"--top-k", "top_k", "choose among the K likeliest; 0: all"},
    {"--top-p", "top_p", "choose among the likeliest that reach this probability together"},
    {"--min-p", "min_p", "leave out tokens below this share of the likeliest one's probability"},
    {"--typical", "typical", "locally typical sampling: keep this probability of typical tokens"},
    {"--repetition-penalty,--repeat-penalty", "repetition_penalty",
     "divide logits of tokens that prompt or output hold by this"},
    {"--repetition-window,--repeat-last-n", "repetition_window", "tokens that it looks back; 0: all"},
    {"--frequency-penalty", "frequency_penalty", "subtract this for each time that the output holds a token"},
    {"--presence-penalty", "presence_penalty", "subtract this once when the output holds a token"},
    {"--dry-multiplier", "dry_multiplier", "penalize going on with a repeated sequence; 0: off"},
    {"--dry-base", "dry_base", "that penalty grows by this factor with each repeated token (1.75)"},
    {"--dry-allowed-length", "dry_allowed_length", "repetitions of fewer tokens are free (2)"},
    {"--dry-penalty-last-n,--dry-window", "dry_window", "tokens that dry looks back; 0: all"},
    {"--n,--samples", "n", "independent samples of one prompt"},
    {"--beams,--num-beams", "beams", "beam search with so many beams"},
    {"--length-penalty", "length_penalty", "a beam's score is its log probability / length^penalty (1)"},
    {"--logprobs", "logprobs", "report log probabilities of new tokens, and of the N likeliest"},
    {"--prompt-logprobs", "prompt_logprobs", "the same for the prompt's tokens"},
    {"--prompt-lookup", "prompt_lookup", "draft N tokens from an earlier place in the text that reads alike"},
    {"--draft-tokens", "draft_tokens", "tokens that the draft model drafts at a time (4)"},
    {"--kv-type", "kv_type", "how keys and values are kept: auto, f32, f16, bf16, q8, q4"},
};

struct Args {
  std::string model, prompt, prompt_file, draft, grammar, schema, save, load;
  std::vector<std::string> plain = std::vector<std::string>(std::size(kPlain));
  std::vector<std::string> lora, stop, ban, bias, breakers, set;
  int64_t tokens = 128, context = 0;
  bool profile = false, ignore_eos = false, chat = false;
  std::string early_stopping, system, tools;
  std::vector<std::string> variables;
};

/// A JSON array of strings.
std::string json_array(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const std::string& text : texts) out += (out.size() > 1 ? "," : "") + json_string(text);
  return out + "]";
}

/// "\n" and the like, as they are typed in a shell.
std::string unescaped(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char next = text[i] == '\\' && i + 1 < text.size() ? text[i + 1] : '\0';
    if (next == 'n' || next == 't' || next == 'r' || next == '\\') {
      out += next == 'n' ? '\n' : next == 't' ? '\t' : next == 'r' ? '\r' : '\\';
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

/// An id, or a text that is one token.
int32_t token_id(const Model& model, const std::string& text) {
  int32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error == std::errc() && end == text.data() + text.size()) return id;
  const std::vector<int32_t> ids = model.tokenizer().encode(unescaped(text));
  if (ids.size() != 1) {
    throw Failure(kUsage, fmt::format("--ban {}: a token id was expected, or a text that is one token; this is {} tokens",
                                      text, ids.size()));
  }
  return ids[0];
}

/// A setting whose value is a file's text: what is wrong with it is the file's fault, not the command line's.
void set_from_file(Session& session, const char* setting, const std::string& path) {
  use_file(path, [&](const std::string& text) {
    if (text.empty()) throw Failure(kBadInput, fmt::format("'{}' is empty", path));
    session.set(setting, text);
  });
}

void apply_settings(const Global& global, const Args& args, const Model& model, Session& session) {
  for (std::size_t i = 0; i < std::size(kPlain); ++i) {
    if (!args.plain[i].empty()) session.set(kPlain[i].setting, args.plain[i]);
  }
  session.set("max_new_tokens", fmt::format("{}", args.tokens));
  session.set("seed", fmt::format("{}", global.seed));
  if (args.profile) session.set("profile", "true");
  if (args.ignore_eos) session.set("ignore_eos", "true");
  if (!args.early_stopping.empty()) session.set("early_stopping", args.early_stopping);
  if (!args.stop.empty()) {
    std::vector<std::string> stops;
    for (const std::string& stop : args.stop) stops.push_back(unescaped(stop));
    session.set("stop", json_array(stops));
  }
  if (!args.breakers.empty()) {
    std::vector<std::string> breakers;
    for (const std::string& breaker : args.breakers) breakers.push_back(unescaped(breaker));
    session.set("dry_breakers", json_array(breakers));
  }
  if (!args.ban.empty()) {
    std::string ids;
    for (const std::string& ban : args.ban) ids += fmt::format("{}{}", ids.empty() ? "" : ",", token_id(model, ban));
    session.set("banned_tokens", ids);
  }
  if (!args.bias.empty()) {
    std::string all;
    for (const std::string& bias : args.bias) all += (all.empty() ? "" : ",") + bias;
    session.set("logit_bias", all);
  }
  if (!args.grammar.empty()) set_from_file(session, "grammar", args.grammar);
  if (!args.schema.empty()) set_from_file(session, "json_schema", args.schema);
  for (const std::string& setting : args.set) {
    const auto [name, value] = split_pair(setting, "--set");
    session.set(name, value);
  }
}

/// Room for the prompt and the answer, but no more than the model was made for.
int64_t positions(const Args& args, const Model& model, int64_t prompt) {
  if (args.context > 0) return args.context;
  const int64_t wanted = prompt + args.tokens, longest = model.max_positions();
  return longest > 0 ? std::max<int64_t>(1, std::min(wanted, longest)) : wanted;
}

void print_logprobs(const std::string& json) {
  const Doc doc(json);
  for (const auto& each : items(doc.root(), "logprobs")) {
    fmt::print(stderr, "{:>8} {:>10.4f} {}", integer(each, "id"), number(each, "logprob"), json_string(text(each, "token")));
    for (const auto& top : items(each, "top")) {
      fmt::print(stderr, "  {} {:.4f}", json_string(text(top, "token")), number(top, "logprob"));
    }
    fmt::print(stderr, "\n");
  }
}

/// The prompt as one message of a user, in the model's own template.
std::vector<int32_t> chat_prompt(const Tokenizer& tokenizer, const std::string& prompt, const Args& args) {
  std::string messages = args.system.empty() ? "[" : "[" + message_json("system", args.system) + ",";
  messages += message_json("user", prompt) + "]";
  std::map<std::string, std::string> variables;
  for (const std::string& assignment : args.variables) set_variable(assignment, variables);
  const std::string tools = args.tools.empty() ? std::string() : read_file(args.tools);
  try {
    return tokenizer.encode(tokenizer.apply_chat_template(messages, tools, template_settings(variables)));
  } catch (const Error& e) {
    if (std::string_view(e.what()).starts_with("tools")) throw Failure(kBadInput, fmt::format("'{}': {}", args.tools, e.what()));
    throw;
  }
}

int run(const Global& global, const Args& args) {
  const std::string prompt = args.prompt_file.empty() ? args.prompt : read_file(args.prompt_file);
  const Runtime runtime = global.make_runtime();
  const Model model = global.open_model(runtime, args.model, args.lora);
  const std::vector<int32_t> ids =
      args.chat ? chat_prompt(model.tokenizer(), prompt, args)
                : model.tokenizer().encode(prompt, args.load.empty() ? NBL_ENCODE_SPECIAL : 0);
  if (ids.empty()) throw Failure(kUsage, "the prompt is empty: give -p TEXT or --prompt-file FILE");
  const auto count = static_cast<int64_t>(ids.size());
  // A saved text comes before the prompt; how long it is turns out when it is read.
  Session session(model, args.load.empty() || args.context > 0 ? positions(args, model, count) : 0);
  apply_settings(global, args, model, session);
  if (!args.load.empty()) opened([&] { session.load(args.load); });
  const int64_t start = session.position();
  std::optional<Model> draft;
  if (!args.draft.empty()) session.set_draft(draft.emplace(global.open_model(runtime, args.draft)));
  const std::string json = session.generate(ids, {}, [&](int32_t, std::string_view piece) {
    if (global.tables()) {
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    }
    return !interrupted();
  });
  const Doc doc(json);
  if (global.tables()) {
    fmt::print("\n");
    int number_of = 0;
    for (const auto& sample : items(doc.root(), "samples")) {
      if (++number_of > 1) fmt::print("--- {}\n{}\n", number_of, text(sample, "text"));
    }
    std::fflush(stdout);  // before what goes to the other stream
  }
  if (!global.quiet) {
    print_logprobs(json);
    fmt::print(stderr, "{} prompt tokens at {:.1f} tok/s, {} new at {:.1f} tok/s, finished: {}\n",
               integer(doc.root(), "prompt_tokens"), number(doc.root(), "prefill_tok_s"),
               items(doc.root(), "token_ids").size(), number(doc.root(), "decode_tok_s"),
               text(doc.root(), "finish_reason"));
  }
  if (args.profile && global.tables()) fmt::print(stderr, "\n{}", profile_table(doc.root()).text(global.markdown));
  emit_json(global, json);
  if (!args.save.empty()) {
    // The last token was chosen but not run yet: whoever continues wants to come after it.
    const auto chosen = items(doc.root(), "token_ids");
    if (session.position() < start + count + static_cast<int64_t>(chosen.size()) && session.position() < session.capacity()) {
      const auto last = static_cast<int32_t>(int64_t(chosen.at(chosen.size() - 1)));
      session.append({&last, 1}, NBL_LOGITS_NONE);
    }
    session.save(args.save);
  }
  return interrupted() ? kCancelled : kDone;
}

}  // namespace

void add_run(const Commands& c) {
  auto* command = c.app.add_subcommand("run", "generate text, token by token");
  auto args = std::make_shared<Args>();
  command->add_option("MODEL", args->model, "the model")->required();
  auto* prompt = command->add_option("-p,--prompt", args->prompt, "the text to continue");
  command->add_option("--prompt-file", args->prompt_file, "the file that holds it")->excludes(prompt);
  command->add_option("-n,--tokens", args->tokens, "tokens to generate at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24))
      ->capture_default_str();
  for (std::size_t i = 0; i < std::size(kPlain); ++i) {
    command->add_option(kPlain[i].flag, args->plain[i], kPlain[i].help)->type_name("VALUE");
  }
  command->add_flag("--early-stopping", args->early_stopping,
                    "end beam search as soon as all beams have ended; --early-stopping=never: look for longer ones");
  command->add_option("--stop", args->stop, "end before this text (\\n is a line break); may be repeated")
      ->allow_extra_args(false);
  command->add_option("--ban", args->ban, "never choose this token: an id or a text; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--logit-bias", args->bias, "ID:BIAS is added to that token's logit; may be repeated")
      ->allow_extra_args(false);
  command->add_option("--dry-sequence-breaker", args->breakers, "repetitions end at this text; may be repeated")
      ->allow_extra_args(false);
  auto* grammar = command->add_option("--grammar", args->grammar, "a GBNF file that the output must match");
  command->add_option("--json-schema", args->schema, "a JSON schema file: the output is valid JSON under it")
      ->excludes(grammar);
  command->add_option("--draft", args->draft, "a smaller model of the same vocabulary, which drafts tokens to check");
  command->add_option("--lora", args->lora, "DIR or DIR:SCALE of a LoRA adapter; may be repeated")->allow_extra_args(false);
  command->add_option("--set", args->set, "NAME=VALUE: any generation setting of the library")->allow_extra_args(false);
  command->add_option("--session-save", args->save, "write the state after the last token to this file");
  command->add_option("--session-load", args->load, "continue from such a file; the prompt comes after its text");
  command->add_option("--context", args->context, "positions to make room for (default: what is needed)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
  auto* chat = command->add_flag("--chat", args->chat, "the prompt is a user's message in the model's chat template");
  command->add_option("--system", args->system, "with --chat: the system message")->needs(chat);
  command->add_option("--tools", args->tools, "with --chat: a file with JSON schemas of functions to call")->needs(chat);
  command->add_option("--var", args->variables, "with --chat: NAME=VALUE for the template; repeatable")
      ->needs(chat)
      ->allow_extra_args(false);
  command->add_flag("--ignore-eos", args->ignore_eos, "go on after an end-of-sequence token");
  command->add_flag("--profile", args->profile, "also say what each operation takes, with its GB/s and Gop/s");
  command->callback([c, args] { c.chosen = [c, args] { return run(c.global, *args); }; });
}

}  // namespace nibble::cli
