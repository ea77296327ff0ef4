// The command line: global options, the list of commands, errors to exit statuses.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "cli/cli.h"

namespace nibble::cli {

int exit_code(nbl_status status) {
  switch (status) {
    case NBL_OK:
      return kDone;
    case NBL_E_INVALID_ARGUMENT:
      return kUsage;
    case NBL_E_LIMIT:
    case NBL_E_OUT_OF_MEMORY:
    case NBL_E_BUSY:
    case NBL_E_INTERNAL:
      return kLimit;
    case NBL_E_CANCELLED:
      return kCancelled;
    default:
      return kBadInput;
  }
}

namespace {

void add_global_options(CLI::App& app, Global& g) {
  const char* group = "Everywhere";
  app.add_option("--threads", g.threads, "threads (default: one a processor)")
      ->check(CLI::Range(1, 1024))
      ->group(group);
  app.add_option("--isa", g.isa, "use no instruction set above this one (see `nibble info`)")->group(group);
  app.add_option("--compute", g.compute,
                 "fast: activations as 8-bit integers where that pays; exact: float32, the same bytes for any number "
                 "of threads")
      ->check(CLI::IsMember({"exact", "fast"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--tune", g.tune,
                 "on: choose kernels by measuring them on each shape, a few milliseconds at the start; no result changes")
      ->check(CLI::IsMember({"on", "off"}))
      ->capture_default_str()
      ->group(group);
  app.add_flag("--no-mmap", g.no_mmap, "read model files into memory instead of mapping them, for files that others may change meanwhile")
      ->group(group);
  app.add_option("--max-ram", g.max_ram, "stop with status 4 once the process holds more memory: 512M, 4G")
      ->group(group);
  app.add_option("--seed", g.seed, "seed of every random choice")->capture_default_str()->group(group);
  app.add_option("--json", g.json, "write the result as JSON to FILE; - for stdout")->type_name("FILE")->group(group);
  app.add_flag("--markdown", g.markdown, "print tables as Markdown")->group(group);
  app.add_flag("--quiet", g.quiet, "no progress, warnings or notes on stderr")->group(group);
  app.add_flag("--verbose", g.verbose, "more notes on stderr")->group(group);
}

int run(int argc, char** argv) {
  CLI::App app{
      "nibble quantizes language models, runs them on CPUs and measures what quantization cost.\n"
      "MODEL is a Hugging Face directory, a native nibble file, a .gguf, a llama2.c .bin, or `builtin`.",
      "nibble"};
  app.set_version_flag("--version", std::string("nibble ") + nbl_version());
  app.require_subcommand(1);
  app.fallthrough();  // global options may stand before and after the command
  Global global;
  add_global_options(app, global);
  Action chosen;
  const Commands commands{app, global, chosen};
  add_info(commands);
  add_inspect(commands);
  add_quantize(commands);
  add_convert(commands);
  add_run(commands);
  add_chat(commands);
  add_tokenize(commands);
  add_score(commands);
  add_perplexity(commands);
  add_compare(commands);
  add_eval(commands);
  add_bench(commands);
  add_sweep(commands);
  add_verify(commands);
  add_doctor(commands);
  add_help(commands);
  for (CLI::App* command : app.get_subcommands({})) {
    const std::string own = command->get_footer();
    command->footer(own + (own.empty() ? "" : "\n") + "Options of every command, --threads, --no-mmap and --json among them: `nibble --help`.");
  }
  app.footer(
      "Exit status: 0 done; 1 done, and the answer is no; 2 wrong usage; 3 bad input; 4 a limit (memory, disk,\n"
      "unsupported CPU); 130 cancelled. `nibble COMMAND --help` shows a command's options.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    fmt::print(stderr, "nibble: {}\nTry `nibble --help`.\n", e.what());
    return kUsage;
  }
  catch_signals();
  catch_bus_errors();
  return chosen();
}

int guarded(int argc, char** argv) {
  try {
    const int code = run(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      fmt::print(stderr, "nibble: the results could not be written to stdout\n");
      return kLimit;
    }
    return code;
  } catch (const Failure& e) {
    fmt::print(stderr, "nibble: {}\n", e.what());
    return e.code;
  } catch (const Error& e) {
    fmt::print(stderr, "nibble: {}\n",
               e.status() == NBL_E_CANCELLED ? "cancelled; nothing half-written is left" : e.what());
    return exit_code(e.status());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "nibble: memory is exhausted\n");
    return kLimit;
  } catch (const std::exception& e) {
    fmt::print(stderr, "nibble: {}\n", e.what());
    return kLimit;
  }
}

}  // namespace

Runtime Global::make_runtime() const {
  Runtime::Options options;
  options.threads = threads;
  options.isa = isa;
  if (isa.empty()) {
    if (const char* forced = std::getenv("NBL_FORCE_ISA"); forced != nullptr) options.isa = forced;
  }
  if (!max_ram.empty()) options.max_memory_bytes = parse_size(max_ram);
  if (!quiet) {
    options.log = [most = verbose ? NBL_LOG_DEBUG : max_ram.empty() ? NBL_LOG_WARNING : NBL_LOG_INFO](int32_t level, std::string_view message) {
      if (level <= most) fmt::print(stderr, "{}: {}\n", level == NBL_LOG_WARNING ? "warning" : "note", message);
    };
  }
  Runtime runtime(std::move(options));
  runtime.set("tune", tune);
  if (no_mmap) runtime.set("mmap", "off");
  return runtime;
}

Checkpoint Global::open_checkpoint(const Runtime& runtime, const std::string& model,
                                   const std::vector<std::string>& lora) const {
  Checkpoint checkpoint = opened([&] { return Checkpoint(runtime, resolve_model(model)); });
  for (const std::string& adapter : lora) {
    const auto [path, scale] = parse_adapter(adapter);
    checkpoint = opened([&, &from = path, by = scale] { return checkpoint.with_adapter(from, by); });
  }
  return checkpoint;
}

Tokenizer Global::open_tokenizer(const Runtime& runtime, const std::string& model) const {
  return opened([&] { return Tokenizer(runtime, resolve_model(model)); });
}

Model Global::open_model(const Runtime& runtime, const std::string& model, const std::vector<std::string>& lora) const {
  Model out = opened([&] { return Model(runtime, resolve_model(model), {compute_mode(), make_progress(*this)}); });
  for (const std::string& adapter : lora) {
    const auto [path, scale] = parse_adapter(adapter);
    out = opened([&, &from = path, by = scale] { return out.with_adapter(from, by); });
  }
  return out;
}

void emit_json(const Global& global, const std::string& json) {
  if (global.json.empty()) return;
  if (global.json_on_stdout()) {
    fmt::print("{}", json);
  } else {
    write_file(global.json, json);
  }
}

}  // namespace nibble::cli

int main(int argc, char** argv) { return nibble::cli::guarded(argc, argv); }
