// nibble eval: benchmark tasks, one model or several.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "cli/cli.h"
#include "cli/eval_tables.h"
#include "cli/json_text.h"

namespace nibble::cli {
namespace {

struct Args {
  std::vector<std::string> models, tasks, settings;
  std::string data, samples, html, csv, cache, system, verdicts;
  int64_t limit = 0, shots = -1, batch = 8, max_tokens = 0;
  double margin = 0.01;
  bool skip_missing = false, tokens = false, run_code = false, chat = false, multiturn = false;
};

std::string shot_text(int64_t shots) { return shots < 0 ? "None" : fmt::format("{}", shots); }

int eval(const Global& global, const Args& args) {
  const Runtime runtime = global.make_runtime();
  Evaluation evaluation(runtime);
  add_tasks(evaluation, args.tasks, args.data);
  evaluation.set("limit", fmt::format("{}", args.limit));
  evaluation.set("num_fewshot", fmt::format("{}", args.shots));
  evaluation.set("batch", fmt::format("{}", args.batch));
  evaluation.set("max_gen_toks", fmt::format("{}", args.max_tokens));
  evaluation.set("margin", fmt::format("{}", args.margin));
  evaluation.set("seed", fmt::format("{}", global.seed));
  evaluation.set("skip_missing", args.skip_missing ? "true" : "false");
  evaluation.set("run_unsafe_code", args.run_code ? "true" : "false");
  evaluation.set("cache", args.cache);
  if (!args.verdicts.empty()) use_file(args.verdicts, [&](const std::string& lines) { evaluation.set("verdicts", lines); });
  evaluation.set("apply_chat_template", args.chat ? "true" : "false");
  evaluation.set("fewshot_as_multiturn", args.multiturn ? "true" : "false");
  evaluation.set("system_instruction", args.system);
  const bool keep = !args.samples.empty() || !args.html.empty();
  evaluation.set("samples", keep ? "true" : "false");
  evaluation.set("sample_tokens", args.tokens ? "true" : "false");
  for (const std::string& each : args.settings) {
    const std::size_t equals = each.find('=');
    if (equals == std::string::npos) throw Failure(kUsage, fmt::format("--set {}: NAME=VALUE was expected", each));
    evaluation.set(each.substr(0, equals), each.substr(equals + 1));
  }
  for (const std::string& each : args.models) evaluation.add_model(global.open_model(runtime, each), each);
  evaluation.set_progress(make_progress(global));
  const std::string json = evaluation.tasks();
  const Doc doc(json);
  const auto& j = doc.root();
  if (global.tables()) {
    for (const auto m : items(j, "models")) {
      fmt::print("nibble ({}), limit: {}, num_fewshot: {}, batch_size: {}\n", text(m, "name"),
                 args.limit == 0 ? "None" : fmt::format("{}", args.limit), shot_text(args.shots), args.batch);
      fmt::print("{}\n", harness_table(j, m, "results"));
      if (members(m, "groups").size() > 0) fmt::print("{}\n", harness_table(j, m, "groups"));
    }
    fmt::print("{}", paired_table(j, global.markdown));
  }
  for (const auto [task, counts] : members(j, "n-samples")) {
    const int64_t cut = integer(counts, "truncated");
    if (cut > 0) {
      fmt::print(stderr, "{}: {} of {} documents do not fit the context; their beginnings were left out\n", task, cut,
                 integer(counts, "effective"));
    }
  }
  for (const auto skipped : items(j, "skipped")) fmt::print(stderr, "skipped: {}\n", text(skipped, "reason"));
  if (!args.samples.empty()) write_samples(args.samples, j);
  if (!args.csv.empty()) write_file(args.csv, results_csv(j));
  if (!args.html.empty()) write_file(args.html, eval_page(j));
  if (args.samples.empty() && !args.tokens) {
    emit_json(global, json);
    return kDone;
  }
  // The samples have files of their own, unless they were asked for in the result.
  ObjectText out;
  for (const auto [key, value] : members(j)) {
    if (key == "models") {
      std::string list;
      for (const auto m : elements(value)) {
        ObjectText row;
        for (const auto [name, part] : members(m))
          if (name != "samples" || args.samples.empty()) row.set_raw(name, minified(part));
        list += (list.empty() ? "" : ",") + row.text();
      }
      out.set_raw(key, "[" + list + "]");
    } else if (key != "samples" || args.samples.empty()) {
      out.set_raw(key, minified(value));
    }
  }
  emit_json(global, indented(out.text()));
  return kDone;
}

}  // namespace

void add_eval(const Commands& c) {
  auto* command = c.app.add_subcommand("eval", "benchmark tasks; several models are compared pair by pair");
  auto args = std::make_shared<Args>();
  command->add_option("MODEL", args->models, "the models")->required();
  command
      ->add_option("--tasks", args->tasks,
                   "names of tasks, groups or tags (nibble info lists them; * is a wild card), JSON-lines files "
                   "{\"context\",\"choices\",\"answer\"}, task definitions (.yaml, .json), or builtin")
      ->delimiter(',')
      ->type_name("TASK|FILE,...")
      ->required();
  command->add_option("--data", args->data, "folder that the tasks' files lie in; without it $NIBBLE_DATA, else data")
      ->type_name("DIR");
  command->add_option("--limit", args->limit, "take the first N questions of each task; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--num-fewshot,--num_fewshot", args->shots, "examples before each question; -1: the task's own number")
      ->check(CLI::Range(int64_t{-1}, int64_t{1000}))
      ->capture_default_str();
  command->add_option("--batch", args->batch, "texts generated side by side")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->capture_default_str();
  command->add_option("--max-gen-toks", args->max_tokens, "tokens of a generated answer at most; 0: the task's own number")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--margin", args->margin, "how much worse still counts as not inferior")
      ->check(CLI::Range(0.0, 1.0))->check(check_is_number)
      ->capture_default_str();
  command->add_flag("--skip-missing", args->skip_missing, "leave out tasks whose files are not there");
  command->add_flag("--confirm-run-unsafe-code,--confirm_run_unsafe_code", args->run_code,
                    "let tasks run, in a sandbox, programs that the model wrote (humaneval)");
  command->add_option("--log-samples", args->samples, "write every request and answer to files in this folder")
      ->type_name("DIR");
  command->add_flag("--log-tokens", args->tokens, "the token ids of each request too");
  command->add_flag("--apply-chat-template,--apply_chat_template", args->chat, "put questions into the model's chat template");
  command->add_flag("--fewshot-as-multiturn,--fewshot_as_multiturn", args->multiturn, "examples as turns of the conversation");
  command->add_option("--system-instruction,--system_instruction", args->system, "system message")->type_name("TEXT");
  command->add_option("--verdicts", args->verdicts, "a judge's verdicts on logged samples: {\"task\",\"doc_id\",\"score\"} a line")
      ->type_name("FILE.jsonl");
  command->add_option("--cache", args->cache, "keep answers in this file: a killed run goes on where it was")->type_name("FILE");
  command->add_option("--csv", args->csv, "write the results as CSV")->type_name("FILE");
  command->add_option("--html", args->html, "write a report that opens in a browser")->type_name("FILE");
  command->add_option("--set", args->settings, "any setting of an evaluation")->type_name("NAME=VALUE");
  command->callback([c, args] { c.chosen = [c, args] { return eval(c.global, *args); }; });
}

}  // namespace nibble::cli
