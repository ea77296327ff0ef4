// nibble sweep: quantize in many ways, measure each, one table.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <set>

#include "cli/cli.h"
#include "cli/eval_tables.h"
#include "cli/json_text.h"
#include "cli/quantize_job.h"
#include "cli/scratch.h"
#include "cli/sweep.h"

namespace nibble::cli {
namespace fs = std::filesystem;
namespace {

struct Args {
  std::string model, recipes, text = "builtin", calib = "builtin", protocol = "windows-512", output, html, prompt;
  std::vector<std::string> tasks, baselines;
  std::string data;
  int64_t windows = 0, limit = 0, calib_tokens = 65536, tokens = 40, reps = 3, bench_prompt = 128, bench_gen = 32;
};

/// "gptq:bits=4,group=64" as a file name.
std::string file_name(const std::string& recipe) {
  std::string name;
  for (const char c : recipe)
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' ? c : '-';
  return name + ".safetensors";
}

std::string greedy(const Model& model, const std::string& prompt, int64_t tokens) {
  const std::vector<int32_t> ids = model.tokenizer().encode(prompt, NBL_ENCODE_SPECIAL);
  if (ids.empty()) return {};
  Session session(model, static_cast<int64_t>(ids.size()) + tokens);
  const Doc doc(
      session.generate(ids, {.max_new_tokens = tokens}, [](int32_t, std::string_view) { return !interrupted(); }));
  return text(doc.root(), "text");
}

std::vector<std::string> bench_options(const Args& args) {
  return {"--prompt", fmt::format("{}", args.bench_prompt), "--gen", fmt::format("{}", args.bench_gen), "--reps", fmt::format("{}", args.reps)};
}

void measure_speed(const Global& global, const Args& args, SweepRow* row) {
  const Doc doc(bench_in_child(global, row->path, bench_options(args)));
  row->load_ms = number(doc.root(), "load_ms");
  row->prefill_tok_s = number(doc.root(), "prefill_tok_s");
  row->decode_tok_s = number(doc.root(), "decode_tok_s");
  row->peak_rss_bytes = integer(doc.root(), "peak_rss_bytes");
}

/// Bits a weight that the original stores in the layers that were quantized: the first row's counterpart of the others.
double original_bits(const Doc& inspected, const std::set<std::string>& layers) {
  double bits = 0, weights = 0;
  for (const auto t : items(inspected.root(), "tensors")) {
    const auto shape = items(t, "shape");
    const std::string name = text(t, "name");
    if (layers.empty() ? shape.size() != 2 : !layers.contains(name)) continue;
    double count = 1;
    for (const auto d : shape) count *= static_cast<double>(d.get_int64().value());
    bits += 8 * static_cast<double>(integer(t, "bytes"));
    weights += count;
  }
  return weights > 0 ? bits / weights : 0;
}

void note(const Global& global, const std::string& message) {
  if (!global.quiet) fmt::print(stderr, "{}\n", message);
}

/// What a kept model was made from, as text: another source, calibration, default or version makes it anew.
std::string origin_of(const Global& global, const std::string& source, int64_t file_bytes, const QuantizeJob& job) {
  const auto stamp = [](const std::string& path) -> int64_t {
    std::error_code ec;
    const auto time = fs::last_write_time(path, ec);
    return ec ? 0 : static_cast<int64_t>(time.time_since_epoch().count());
  };
  const std::string calibration = method_needs_calibration(method_of(job.recipe))
                                      ? fmt::format("{} {} {}", job.calibration, stamp(job.calibration), job.calibration_tokens)
                                      : std::string();
  std::error_code ec;
  return fmt::format("{}; defaults {}; {} {} {}; {}; nibble {}, compute {}, seed {}", job.recipe, method_defaults(method_of(job.recipe)),
                     fs::absolute(source, ec).string(), file_bytes, stamp(source), calibration, nbl_version(), global.compute, global.seed);
}

/// Quantizes, unless the folder of an earlier sweep that ended early or is being repeated holds the model already.
std::string quantized(const Global& global, const Runtime& runtime, const Checkpoint& input, const QuantizeJob& job, const std::string& origin,
                      const std::string& path, bool kept) {
  const std::string beside = path + ".report.json";
  std::error_code ec;
  if (kept && fs::is_regular_file(path, ec) && fs::is_regular_file(beside, ec)) {
    const Doc known(read_file(beside));
    if (text(known.root(), "origin") == origin) {
      note(global, fmt::format("keep {}", path));
      return raw(known.root(), "report");
    }
  }
  note(global, fmt::format("quantize {}", job.recipe));
  std::string report = run_quantize_job(global, runtime, input, job, path);
  if (kept) write_file(beside, ObjectText().set("origin", origin).set_raw("report", report).text() + "\n");
  return report;
}

struct Headline {
  std::string metric;
  double value, error;
};

/// The one number of a task that the table has room for: the accuracy, where there is one, else the first.
std::optional<Headline> headline(const Doc::Element& results) {
  std::optional<Headline> first;
  for (const auto [key, value] : members(results)) {
    const std::string metric(key);
    const std::size_t comma = metric.find(',');
    if (comma == std::string::npos || !value.is_number() || metric.find("_stderr,") != std::string::npos) continue;
    const bool accuracy = metric.substr(0, comma) == "acc";
    if (first && !accuracy) continue;
    first = {metric, value.get_double().value(), number(results, metric.substr(0, comma) + "_stderr" + metric.substr(comma))};
    if (accuracy) break;
  }
  return first;
}

int sweep(const Global& global, const Args& args) {
  const std::vector<std::string> recipes = split_recipes(args.recipes);
  if (recipes.empty()) throw Failure(kUsage, "--recipes names no recipe");
  const Runtime runtime = global.make_runtime();
  // Every recipe is checked before hours are spent on the first.
  for (const std::string& recipe : recipes) Quantizer(runtime, recipe);
  for (const std::string& baseline : args.baselines) global.open_checkpoint(runtime, resolve_model(baseline));

  std::optional<Scratch> scratch;
  fs::path folder;
  if (args.output.empty()) {
    std::error_code ec;
    const fs::path place = fs::temp_directory_path(ec);
    if (ec) throw Failure(kBadInput, "there is no folder for temporary files: set TMPDIR to one, or name a folder with -o");
    folder = scratch.emplace(place / "nibble-sweep-", kLimit).path();
  } else {
    folder = args.output;
    std::error_code ec;
    fs::create_directories(folder, ec);
    if (ec) throw Failure(kBadInput, fmt::format("cannot make the directory '{}': {}", args.output, ec.message()));
  }

  Sweep result;
  result.model = args.model;
  result.text = args.text;
  result.protocol = args.protocol;
  result.prompt = args.prompt;

  const std::string source = resolve_model(args.model);
  const Checkpoint input = global.open_checkpoint(runtime, source);
  const std::string inspected = input.inspect(NBL_INSPECT_TENSORS);
  const Doc inspected_doc(inspected);
  result.machine = raw(inspected_doc.root(), "machine");
  SweepRow original;
  original.recipe = "original";
  original.path = source;
  original.original = true;
  original.file_bytes = integer(inspected_doc.root(), "file_bytes");
  result.rows.push_back(original);

  std::set<std::string> layers;
  for (const std::string& recipe : recipes) {
    SweepRow row;
    row.recipe = recipe;
    row.path = (folder / file_name(recipe)).string();
    QuantizeJob job;
    job.recipe = recipe;
    job.calibration = args.calib;
    job.calibration_tokens = args.calib_tokens;
    const Doc report(quantized(global, runtime, input, job, origin_of(global, source, original.file_bytes, job), row.path, !args.output.empty()));
    row.bits_per_weight = number(report.root(), "bits_per_weight");
    row.file_bytes = integer(report.root(), "file_bytes");
    row.quantize_seconds = number(report.root(), "seconds");
    for (const auto layer : items(report.root(), "layers")) {
      layers.insert(text(layer, "name"));
      row.errors.emplace_back(text(layer, "name"), number(layer, "error"));
    }
    result.rows.push_back(row);
  }
  result.rows[0].bits_per_weight = original_bits(inspected_doc, layers);

  note(global, "measure speed and memory, each model in a process of its own");
  for (SweepRow& row : result.rows) measure_speed(global, args, &row);

  note(global, "compare with the original");
  Evaluation evaluation(runtime);
  evaluation.set_progress(make_progress(global));
  const std::string text_file = resolve_data(args.text, "evaluation.txt");
  evaluation.set_text(read_file(text_file), args.text);
  evaluation.set("protocol", args.protocol);
  evaluation.set("windows", fmt::format("{}", args.windows));
  evaluation.set("limit", fmt::format("{}", args.limit));
  add_tasks(evaluation, args.tasks, args.data);
  if (!args.output.empty() && !args.tasks.empty()) evaluation.set("cache", (folder / "answers.sqlite").string());
  for (SweepRow& row : result.rows) {
    const Model model = global.open_model(runtime, row.path);
    if (!args.prompt.empty()) row.continuation = greedy(model, args.prompt, args.tokens);
    evaluation.add_model(model, row.recipe);
  }
  const Doc compared(evaluation.compare());
  std::size_t index = 1;
  for (const auto c : items(compared.root(), "candidates")) {
    SweepRow& row = result.rows[index++];
    row.perplexity = number(c, "ppl");
    row.perplexity_stderr = number(c, "ppl_stderr");
    row.mean_kl = number(c, "mean_kl");
    row.kl_stderr = number(c, "kl_stderr");
    row.top1_agreement = number(c, "top1_agreement");
    result.tokens = integer(c, "tokens");
    result.rows[0].perplexity = number(c, "reference_ppl");
    result.rows[0].perplexity_stderr = number(c, "reference_ppl_stderr");
  }
  if (!args.tasks.empty()) {
    const Doc tasks(evaluation.tasks());
    index = 0;
    for (const auto m : items(tasks.root(), "models")) {
      for (const auto [task, r] : members(m, "results")) {
        if (const auto found = headline(r)) result.rows[index].tasks.push_back({std::string(task), found->metric, found->value, found->error});
      }
      ++index;
    }
  }
  mark_pareto(&result);
  measure_rivals(global, runtime, args.baselines, {args.windows, args.limit, args.tasks, bench_options(args), args.data}, &result);

  if (global.tables()) {
    if (!args.prompt.empty()) {
      for (const SweepRow& row : result.rows) fmt::print("{}\n    {}{}\n", row.recipe, args.prompt, row.continuation);
      fmt::print("\n");
    }
    fmt::print("{}", sweep_table(result, global.markdown));
    if (!result.rivals.empty()) fmt::print("\n{}", rivals_table(result, global.markdown));
  }
  std::string html = args.html;
  if (html.empty() && !args.output.empty()) html = (folder / "report.html").string();
  if (!html.empty()) {
    write_file(html, sweep_html(result));
    if (global.tables()) fmt::print("\nreport: {}\n", html);
  }
  emit_json(global, sweep_json(result));
  return kDone;
}

}  // namespace

std::vector<std::string> split_recipes(const std::string& given) {
  std::error_code ec;
  std::string text = given;
  if (fs::is_regular_file(given, ec) || fs::is_directory(given, ec)) text = read_file(given);
  std::vector<std::string> recipes;
  const auto trimmed = [](std::string_view part) {
    const std::size_t begin = part.find_first_not_of(" \t\r");
    return begin == std::string_view::npos
               ? std::string()
               : std::string(part.substr(begin, part.find_last_not_of(" \t\r") - begin + 1));
  };
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find_first_of("\n;", at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    line = line.substr(0, line.find('#'));
    bool first = true;
    for (std::size_t p = 0; p <= line.size();) {
      const std::size_t comma = std::min(line.find(',', p), line.size());
      const std::string part = trimmed(std::string_view(line).substr(p, comma - p));
      p = comma + 1;
      if (part.empty()) continue;
      const std::size_t equals = part.find('=');
      const bool starts = first || equals == std::string::npos || part.find(':') < equals;
      if (starts) {
        recipes.push_back(part);
      } else {
        recipes.back() += "," + part;
      }
      first = false;
    }
  }
  return recipes;
}

void add_sweep(const Commands& c) {
  auto* command =
      c.app.add_subcommand("sweep", "quantize MODEL in many ways, measure each against the original, print one table");
  auto args = std::make_shared<Args>();
  const auto positive = CLI::Range(int64_t{1}, int64_t{1} << 31);
  command->add_option("MODEL", args->model, "the original")->required();
  command->add_option("--recipes", args->recipes, "recipes, or a file with one a line")
      ->type_name("R1,R2,...|FILE")
      ->required();
  command->add_option("-o,--output", args->output, "keep the models, answers and report.html in this directory; a sweep that finds them there goes on")
      ->type_name("DIR");
  command->add_option("--html", args->html, "write the report there")->type_name("FILE");
  command->add_option("--text", args->text, "the text to measure on: a file, or builtin")
      ->type_name("FILE|builtin")
      ->capture_default_str();
  command->add_option("--protocol", args->protocol, "how it is cut into scored windows (see `nibble info`)")
      ->capture_default_str();
  command->add_option("--windows", args->windows, "take the first N windows; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--data", args->data, "folder that the tasks' files lie in; without it $NIBBLE_DATA, else data")
      ->type_name("DIR");
  command
      ->add_option("--tasks", args->tasks, "as of nibble eval: names, JSON-lines files, or builtin")
      ->delimiter(',')
      ->type_name("FILE,...");
  command
      ->add_option("--baselines", args->baselines,
                   "smaller models in full precision, each compared with the recipe of about as many bytes")
      ->delimiter(',')
      ->type_name("MODEL,...");
  command->add_option("--limit", args->limit, "take the first N questions; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--calib", args->calib, "calibration text: a file, or builtin")
      ->type_name("FILE|builtin")
      ->capture_default_str();
  command->add_option("--calib-tokens", args->calib_tokens, "tokens of it to use, in windows of 512")
      ->check(positive)
      ->capture_default_str();
  command->add_option("-p,--prompt", args->prompt, "show how each model continues this text");
  command->add_option("-n,--tokens", args->tokens, "by so many tokens")->check(positive)->capture_default_str();
  command->add_option("--bench-prompt", args->bench_prompt, "tokens of the prompt when measuring speed")
      ->check(positive)
      ->capture_default_str();
  command->add_option("--bench-gen", args->bench_gen, "tokens generated when measuring speed")
      ->check(positive)
      ->capture_default_str();
  command->add_option("--reps", args->reps, "repetitions when measuring speed")->check(positive)->capture_default_str();
  command->callback([c, args] { c.chosen = [c, args] { return sweep(c.global, *args); }; });
}

}  // namespace nibble::cli
