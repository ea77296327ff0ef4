// nibble chat
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "cli/cli.h"
#include "cli/conversation.h"
#include "cli/json_text.h"
#include "cli/line_editor.h"

namespace nibble::cli {
namespace {

struct Args {
  std::string model, system, load, template_file;
  std::vector<std::string> variables, set, lora;
  Session::GenerateOptions generate;
  int64_t context = 0;
};

constexpr const char* kHelp =
    "/help            this list\n"
    "/system [TEXT]   set the system message; without TEXT, take it away\n"
    "/set             show the settings\n"
    "/set NAME VALUE  temperature, top_k, top_p, tokens, seed, another generation setting (min_p, repetition_penalty,\n"
    "                 stop, kv_type, ...), or else a variable of the template\n"
    "/save FILE       write the conversation as JSON\n"
    "/load FILE       go on with a saved conversation\n"
    "/undo            take the last question and its answer back\n"
    "/retry           answer the last question again\n"
    "/reset           forget what was said; the system message stays\n"
    "/quit            leave (also Ctrl-D)\n"
    "A line that begins with // is said with one slash. A line that ends with \\ goes on in the next one.\n"
    "Ctrl-C stops an answer; what came of it stays in the conversation.\n";

class Chat {
 public:
  Chat(const Global& global, const Model& model, const Args& args)
      : global_(global), conversation_(model, args.context) {
    conversation_.options = args.generate;
    conversation_.options.seed = global.seed;
    if (!args.system.empty()) conversation_.system = args.system;
    if (!args.template_file.empty()) {
      conversation_.variables["chat_template"] = json_string(read_file(args.template_file));
    }
    for (const std::string& assignment : args.variables) set_variable(assignment, conversation_.variables);
    for (const std::string& assignment : args.set) {
      const auto [name, value] = split_pair(assignment, "--set");
      if (!set_named(name, value)) conversation_.set(name, value);
    }
    if (!args.load.empty()) conversation_.load(read_file(args.load), args.load);
  }

  int run() {
    if (interrupted()) return kCancelled;
    clear_interruption();
    if (editor_.terminal() && !global_.quiet) fmt::print(stderr, "/help lists the commands.\n");
    int status = kDone;
    while (!quit_) {
      const std::optional<std::string> line = read();
      if (!line) {
        if (!interrupted()) break;
        if (!editor_.terminal()) return kCancelled;
        clear_interruption();
        fmt::print("\n(/quit or Ctrl-D leaves)\n");
        continue;
      }
      try {
        handle(*line);
      } catch (const Failure& e) {
        report(e.what(), e.code, status);
      } catch (const Error& e) {
        if (e.status() == NBL_E_INTERNAL || e.status() == NBL_E_OUT_OF_MEMORY) throw;
        report(e.what(), e.status() == NBL_E_LIMIT ? kLimit : kBadInput, status);
      }
    }
    emit_json(global_, indented(ObjectText()
                                    .set("nibble_version", nbl_version())
                                    .set_raw("messages", raw(Doc(conversation_.json()).root(), "messages"))
                                    .text()));
    return status;
  }

 private:
  /// One message or command: lines that end with a backslash are joined.
  std::optional<std::string> read() {
    std::optional<std::string> line = editor_.read("> ");
    while (line && line->ends_with('\\')) {
      line->back() = '\n';
      const std::optional<std::string> more = editor_.read(". ");
      if (!more) return interrupted() ? std::nullopt : line;
      *line += *more;
    }
    return line;
  }

  /// A person goes on after an error; for a script it is the outcome.
  void report(const char* what, int code, int& status) {
    std::fflush(stdout);
    fmt::print(stderr, "nibble: {}\n", what);
    if (!editor_.terminal()) status = code;
  }

  void handle(const std::string& line) {
    if (line.find_first_not_of(" \t\r\n") == std::string::npos) return;
    if (line[0] != '/') return answer(line);
    if (line.starts_with("//")) return answer(line.substr(1));
    const std::size_t space = line.find_first_of(" \t");
    const std::string name = line.substr(1, space == std::string::npos ? space : space - 1);
    std::string rest = space == std::string::npos ? "" : line.substr(space);
    rest.erase(0, rest.find_first_not_of(" \t"));
    rest.erase(rest.find_last_not_of(" \t") + 1);
    command(name, rest);
  }

  void command(const std::string& name, const std::string& rest) {
    if (name == "help") {
      note(kHelp);
    } else if (name == "quit" || name == "exit") {
      quit_ = true;
    } else if (name == "reset") {
      conversation_.reset();
    } else if (name == "system") {
      conversation_.system = rest.empty() ? std::nullopt : std::optional<std::string>(rest);
    } else if (name == "save") {
      need(rest, "/save FILE");
      write_file(rest, indented(conversation_.json()));
    } else if (name == "load") {
      need(rest, "/load FILE");
      conversation_.load(read_file(rest), rest);
    } else if (name == "undo") {
      if (!conversation_.undo()) throw Failure(kUsage, "nothing was said yet");
    } else if (name == "retry") {
      const std::string question = last_;
      if (question.empty() || !conversation_.undo()) throw Failure(kUsage, "nothing was said yet");
      answer(question);
    } else if (name == "set") {
      set(rest);
    } else {
      throw Failure(kUsage, fmt::format("there is no command /{}; /help lists them", name));
    }
  }

  static void need(const std::string& rest, const char* form) {
    if (rest.empty()) throw Failure(kUsage, fmt::format("{} was expected", form));
  }

  void note(const std::string& text) {
    std::FILE* const out = global_.tables() ? stdout : stderr;
    fmt::print(out, "{}", text);
    std::fflush(out);
  }

  void set(const std::string& rest) {
    auto& o = conversation_.options;
    if (rest.empty()) {
      std::string text = fmt::format("temperature {}\ntop_k {}\ntop_p {}\ntokens {}\nseed {}\n", o.temperature, o.top_k,
                                     o.top_p, o.max_new_tokens, o.seed);
      for (const auto& [name, value] : conversation_.settings()) text += fmt::format("{} {}\n", name, value);
      for (const auto& [name, value] : conversation_.variables) {
        if (name != "chat_template") text += fmt::format("{} {}\n", name, value);
      }
      return note(text);
    }
    const std::size_t gap = rest.find_first_of(" =\t");
    if (gap == std::string::npos) throw Failure(kUsage, "/set NAME VALUE was expected");
    const std::string name = rest.substr(0, gap);
    std::string value = rest.substr(gap + 1);
    value.erase(0, value.find_first_not_of(" \t="));
    if (set_named(name, value)) return;
    if (is_setting(name)) {
      conversation_.set(name, value);
    } else {
      set_variable(name + "=" + value, conversation_.variables);
    }
  }

  /// The settings that have options of their own; false for every other name.
  bool set_named(const std::string& name, const std::string& value) {
    auto& o = conversation_.options;
    const auto number_in = [&](double low, double high) {
      char* end = nullptr;
      const double v = std::strtod(value.c_str(), &end);
      if (value.empty() || *end != '\0' || !(v >= low && v <= high)) {
        throw Failure(kUsage, fmt::format("{} is '{}'; a number from {} to {} was expected", name, value, low, high));
      }
      return v;
    };
    if (name == "temperature") {
      o.temperature = static_cast<float>(number_in(0, 100));
    } else if (name == "top_p") {
      o.top_p = static_cast<float>(number_in(0, 1));
    } else if (name == "top_k") {
      o.top_k = static_cast<int32_t>(number_in(0, 1 << 30));
    } else if (name == "tokens" || name == "max_new_tokens") {
      o.max_new_tokens = static_cast<int64_t>(number_in(1, 1 << 24));
    } else if (name == "seed") {
      o.seed = static_cast<uint64_t>(number_in(0, 9e15));
    } else {
      return false;
    }
    return true;
  }

  static bool is_setting(const std::string& name) {
    const Doc doc(nbl_generation_settings_json());
    const auto all = elements(doc.root());
    return name == "kv_type" || std::any_of(all.begin(), all.end(), [&](const auto& each) { return text(each, "name") == name; });
  }

  void answer(const std::string& text) {
    last_ = text;
    const auto reply = conversation_.say(text, [&](std::string_view piece) {
      if (global_.tables()) {
        std::fwrite(piece.data(), 1, piece.size(), stdout);
        std::fflush(stdout);
      }
      return !interrupted();
    });
    if (global_.tables()) fmt::print("\n");
    std::fflush(stdout);
    const bool stopped = interrupted();
    if (stopped) clear_interruption();
    if (!global_.quiet && (stopped || reply.finish_reason == "length" || reply.finish_reason == "context")) {
      fmt::print(stderr, "({})\n",
                 stopped                           ? "stopped"
                 : reply.finish_reason == "length" ? "cut at the token limit: /set tokens N"
                                                   : "the context is full");
    }
    if (global_.verbose) {
      const Doc doc(reply.result);
      fmt::print(stderr, "({} prompt tokens at {:.1f} tok/s, {} new at {:.1f} tok/s)\n",
                 integer(doc.root(), "prompt_tokens"), number(doc.root(), "prefill_tok_s"),
                 items(doc.root(), "token_ids").size(), number(doc.root(), "decode_tok_s"));
    }
  }

  const Global& global_;
  LineEditor editor_;
  Conversation conversation_;
  std::string last_;
  bool quit_ = false;
};

int chat(const Global& global, const Args& args) {
  const Runtime runtime = global.make_runtime();
  const Model model = global.open_model(runtime, args.model, args.lora);
  if (args.template_file.empty()) {
    const Doc info(model.tokenizer().info());
    if (items(info.root(), "chat_templates").size() == 0) {
      throw Failure(kBadInput,
                    fmt::format("{} carries no chat template: give one with --template FILE, or continue plain "
                                "text with `nibble run`",
                                args.model));
    }
  }
  return Chat(global, model, args).run();
}

}  // namespace

void add_chat(const Commands& c) {
  auto* command = c.app.add_subcommand("chat", "a conversation with the model's own template");
  auto args = std::make_shared<Args>();
  args->generate.max_new_tokens = 512;
  command->add_option("MODEL", args->model, "the model")->required();
  command->add_option("--system", args->system, "the system message");
  command->add_option("--load", args->load, "go on with a conversation that /save wrote");
  command->add_option("--template", args->template_file, "a file with another chat template (Jinja)");
  command->add_option("--var", args->variables, "NAME=VALUE for the template, the value JSON or a word; repeatable")
      ->allow_extra_args(false);
  command->add_option("-n,--tokens", args->generate.max_new_tokens, "tokens of an answer at most")
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
      ->check(CLI::Range(0.0f, 1.0f))->check(check_is_number)
      ->capture_default_str();
  command->add_option("--set", args->set, "NAME=VALUE: any generation setting of the library (min_p, repetition_penalty, stop, ...)")
      ->allow_extra_args(false);
  command->add_option("--lora", args->lora, "DIR or DIR:SCALE of a LoRA adapter; may be repeated")->allow_extra_args(false);
  command->add_option("--context", args->context, "positions to make room for (default: the model's, at most 4096)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
  command->footer("/help in the conversation lists its commands.");
  command->callback([c, args] { c.chosen = [c, args] { return chat(c.global, *args); }; });
}

}  // namespace nibble::cli
