// nibble perplexity, compare, score, bench: one model or several, measured.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>

#include "cli/cli.h"
#include "cli/json_text.h"
#include "cli/table.h"

namespace nibble::cli {
namespace {

struct Args {
  std::string model, text = "builtin", protocol = "windows-512", requests, contexts, batches;
  std::vector<std::string> models;
  int64_t windows = 0, prompt = 128, gen = 32, depth = 0, reps = 3, batch = 1;
  bool bandwidth = false, layers = false, profile = false;
};

void set_text(Evaluation& evaluation, const Args& args) {
  const std::string file = resolve_data(args.text, "evaluation.txt");
  evaluation.set_text(read_file(file), args.text);
  evaluation.set("protocol", args.protocol);
  evaluation.set("windows", fmt::format("{}", args.windows));
}

void text_options(CLI::App* command, Args& args) {
  std::vector<std::string> protocols;
  const Doc doc(nbl_protocols_json());
  for (const auto p : elements(doc.root())) protocols.push_back(text(p, "id"));
  command->add_option("--text", args.text, "the text to measure on: a file, or builtin")
      ->type_name("FILE|builtin")
      ->capture_default_str();
  command->add_option("--protocol", args.protocol, "how it is cut into scored windows")
      ->check(CLI::IsMember(protocols))
      ->capture_default_str();
  command->add_option("--windows", args.windows, "take the first N windows; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

int perplexity(const Global& global, const Args& args) {
  const Runtime runtime = global.make_runtime();
  Evaluation evaluation(runtime);
  set_text(evaluation, args);
  evaluation.add_model(global.open_model(runtime, args.model), args.model);
  evaluation.set_progress(make_progress(global));
  const std::string json = evaluation.perplexity();
  if (global.tables()) {
    const Doc doc(json);
    const auto& j = doc.root();
    fmt::print("perplexity {:.4f} ± {:.4f} ({}, {} tokens scored)\n", number(j, "perplexity"),
               number(j, "perplexity") * number(j, "stderr"), text(j, "protocol"), integer(j, "tokens"));
    fmt::print("{:.4f} nats a token, {:.4f} bits a byte\n", number(j, "nll"), number(j, "bits_per_byte"));
  }
  emit_json(global, json);
  return kDone;
}

int compare(const Global& global, const Args& args) {
  const Runtime runtime = global.make_runtime();
  Evaluation evaluation(runtime);
  set_text(evaluation, args);
  evaluation.add_model(global.open_model(runtime, args.model), args.model);
  for (const std::string& each : args.models) evaluation.add_model(global.open_model(runtime, each), each);
  evaluation.set("layers", args.layers ? "true" : "false");
  evaluation.set_progress(make_progress(global));
  const std::string json = evaluation.compare();
  if (global.tables()) {
    const Doc doc(json);
    Table table({"candidate", "mean KL", "median KL", "99 % KL", "max KL", "top-1 %", "perplexity", "ratio"});
    for (const auto c : items(doc.root(), "candidates")) {
      table.add({text(c, "name"), fmt::format("{:.5f} ± {:.5f}", number(c, "mean_kl"), number(c, "kl_stderr")),
                 fmt::format("{:.5f}", number(c, "median_kl")), fmt::format("{:.4f}", number(c, "p99_kl")),
                 fmt::format("{:.4f}", number(c, "max_kl")), fmt::format("{:.2f}", 100 * number(c, "top1_agreement")),
                 fmt::format("{:.4f}", number(c, "ppl")),
                 fmt::format("{:.5f} ± {:.5f}", number(c, "ppl_ratio"), number(c, "ppl_ratio_stderr"))});
    }
    fmt::print("{}", table.text(global.markdown));
    Table layers({"candidate", "layer", "mean KL", "top-1 %", "logit error", "layer's own error"});
    for (const auto c : items(doc.root(), "candidates")) {
      for (const auto l : items(c, "layers")) {
        layers.add({text(c, "name"), text(l, "name"),
                    fmt::format("{:.6f} ± {:.6f}", number(l, "mean_kl"), number(l, "kl_stderr")),
                    fmt::format("{:.2f}", 100 * number(l, "top1_agreement")), fmt::format("{:.5f}", number(l, "output_error")),
                    l["layer_error"].is_null() ? "" : fmt::format("{:.5f}", number(l, "layer_error"))});
      }
    }
    if (!layers.empty()) fmt::print("\n{}", layers.text(global.markdown));
  }
  emit_json(global, json);
  return kDone;
}

int score(const Global& global, const Args& args) {
  const Runtime runtime = global.make_runtime();
  Evaluation evaluation(runtime);
  evaluation.add_model(global.open_model(runtime, args.model), args.model);
  evaluation.set_progress(make_progress(global));
  std::string json;
  use_file(args.requests, [&](const std::string& requests) { json = evaluation.score(requests); });
  if (global.tables()) {
    const Doc doc(json);
    Table table({"request", "logprob", "greedy", "tokens"});
    int64_t index = 0;
    for (const auto r : items(doc.root(), "results")) {
      table.add({fmt::format("{}", ++index), fmt::format("{:.4f}", number(r, "logprob")),
                 flag(r, "is_greedy") ? "yes" : "no", fmt::format("{}", integer(r, "tokens"))});
    }
    fmt::print("{}", table.text(global.markdown));
  }
  emit_json(global, json);
  return kDone;
}

/// Speed at each context with each batch.
Table grid_table(const simdjson::dom::element& bench) {
  Table table({"context", "batch", "prefill tok/s", "decode tok/s", "J a token"});
  for (const auto g : items(bench, "grid")) {
    table.add({fmt::format("{}", integer(g, "context")), fmt::format("{}", integer(g, "batch")),
               g["prefill_tok_s"].is_null() ? "-" : fmt::format("{:.1f}", number(g, "prefill_tok_s")),
               fmt::format("{:.1f}", number(g, "decode_tok_s")),
               g["joules_per_token"].is_null() ? "-" : fmt::format("{:.3g}", number(g, "joules_per_token"))});
  }
  return table;
}

int bench(const Global& global, const Args& args) {
  const Runtime runtime = global.make_runtime();
  const auto start = std::chrono::steady_clock::now();
  const Model model = global.open_model(runtime, args.model);
  const double load_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  Evaluation evaluation(runtime);
  evaluation.set("speed.prompt", fmt::format("{}", args.prompt));
  evaluation.set("speed.gen", fmt::format("{}", args.gen));
  evaluation.set("speed.depth", fmt::format("{}", args.depth));
  evaluation.set("speed.reps", fmt::format("{}", args.reps));
  evaluation.set("speed.batch", fmt::format("{}", args.batch));
  evaluation.set("speed.profile", args.profile ? "true" : "false");
  evaluation.set("speed.bandwidth", args.bandwidth ? "true" : "false");
  evaluation.set("speed.contexts", args.contexts);
  evaluation.set("speed.batches", args.batches);
  evaluation.add_model(model, args.model);
  evaluation.set_progress(make_progress(global));
  const std::string measured = evaluation.speed();
  const Doc doc(measured);
  const auto& j = doc.root();
  if (global.tables()) {
    fmt::print(
        "load           {:.1f} ms\nprefill        {:.1f} tok/s ({} tokens)\ndecode         {:.1f} tok/s\nfirst token   "
        " {:.1f} ms\npeak memory    {} MB\n",
        load_ms, number(j, "prefill_tok_s"), args.prompt, number(j, "decode_tok_s"), number(j, "first_token_ms"),
        integer(j, "peak_rss_bytes") / 1000000);
    if (args.batch > 1) {
      fmt::print("{:<14} {:.1f} tok/s\n", fmt::format("{} together", args.batch), number(j, "batch_decode_tok_s"));
    }
    if (has(j, "energy") && !j["energy"].is_null()) {
      fmt::print("energy         {:.3g} J a token read, {:.3g} J a token written\n", number(j["energy"].value(), "prefill_joules_per_token"),
                 number(j["energy"].value(), "decode_joules_per_token"));
    }
    if (args.bandwidth) {
      const double limit = number(j, "memory_bandwidth"), share = number(j, "bandwidth_share");
      fmt::print("bandwidth      {:.1f} of {:.1f} GB/s ({:.0f} %){}\n", share * limit / 1e9, limit / 1e9, 100 * share,
                 flag(j, "disturbed") ? ", measured beside other programs" : "");
    }
    if (has(j, "grid")) fmt::print("\n{}", grid_table(j).text(global.markdown));
    if (args.profile) fmt::print("\n{}", profile_table(j).text(global.markdown));
  }
  ObjectText out;
  for (const auto [key, value] : members(j)) out.set_raw(key, minified(value));
  out.set("load_ms", load_ms);
  emit_json(global, indented(out.text()));
  return kDone;
}

}  // namespace

Table profile_table(const simdjson::dom::element& result) {
  Table table({"step", "operation", "µs", "share %", "GB/s", "Gop/s"});
  simdjson::dom::element profile;
  if (result["profile"].get(profile) != simdjson::SUCCESS) return table;
  for (const char* step : {"prefill", "decode", "batch"}) {  // a batch only where one was asked for
    for (const auto p : items(profile, step)) {
      table.add({step, text(p, "operation"), fmt::format("{:.1f}", number(p, "microseconds")),
                 fmt::format("{:.1f}", 100 * number(p, "share")), fmt::format("{:.1f}", number(p, "gb_s")),
                 fmt::format("{:.0f}", number(p, "gop_s"))});
    }
  }
  return table;
}

void add_perplexity(const Commands& c) {
  auto* command = c.app.add_subcommand("perplexity", "perplexity of MODEL on a text under a named protocol");
  auto args = std::make_shared<Args>();
  command->add_option("MODEL", args->model, "the model")->required();
  text_options(command, *args);
  command->callback([c, args] { c.chosen = [c, args] { return perplexity(c.global, *args); }; });
}

void add_compare(const Commands& c) {
  auto* command =
      c.app.add_subcommand("compare", "KL divergence of candidates from a reference, in lockstep over a text");
  auto args = std::make_shared<Args>();
  command->add_option("REFERENCE", args->model, "the original")->required();
  command->add_option("CANDIDATE", args->models, "what was made of it")->required();
  command->add_flag("--layers", args->layers, "also replace one layer at a time by the candidate's, and say what each costs");
  text_options(command, *args);
  command->callback([c, args] { c.chosen = [c, args] { return compare(c.global, *args); }; });
}

void add_score(const Commands& c) {
  auto* command =
      c.app.add_subcommand("score", "log-likelihood of continuations, as lm-evaluation-harness computes it");
  auto args = std::make_shared<Args>();
  command->add_option("MODEL", args->model, "the model")->required();
  command
      ->add_option("--requests", args->requests,
                   "JSON lines {\"context\",\"continuation\"} or {\"context_ids\",\"continuation_ids\"}")
      ->type_name("FILE.jsonl")
      ->required();
  command->callback([c, args] { c.chosen = [c, args] { return score(c.global, *args); }; });
}

void add_bench(const Commands& c) {
  auto* command = c.app.add_subcommand("bench", "speed and memory of MODEL");
  auto args = std::make_shared<Args>();
  const auto count = [](int64_t least) { return CLI::Range(least, int64_t{1000000}); };
  command->add_option("MODEL", args->model, "the model")->required();
  command->add_option("--prompt", args->prompt, "tokens of the prompt")->check(count(1))->capture_default_str();
  command->add_option("--gen", args->gen, "tokens generated")->check(count(1))->capture_default_str();
  command->add_option("--depth", args->depth, "tokens already in the context")->check(count(0))->capture_default_str();
  command->add_option("--reps", args->reps, "repetitions; medians are reported")
      ->check(count(1))
      ->capture_default_str();
  command->add_option("--batch", args->batch, "also decode so many sequences together")
      ->check(CLI::Range(int64_t{1}, int64_t{4096}))
      ->capture_default_str();
  command->add_option("--contexts", args->contexts, "also measure at these contexts: \"0,512,2048\"")->type_name("N,N,...");
  command->add_option("--batches", args->batches, "and with so many sequences together: \"1,4,16\"")->type_name("N,N,...");
  command->add_flag("--profile", args->profile, "also say what each operation takes, with its GB/s and Gop/s");
  command->add_flag("--bandwidth", args->bandwidth, "measure the memory's bandwidth too, and decode's share of it");
  command->callback([c, args] { c.chosen = [c, args] { return bench(c.global, *args); }; });
}

}  // namespace nibble::cli
