// What the commands of `nibble` share: global options, errors with their exit status, files, progress and results.
// Written on the public header alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/nibble.hpp"

namespace CLI {
class App;
}

namespace nibble::cli {

enum Exit : int { kDone = 0, kAnswerIsNo = 1, kUsage = 2, kBadInput = 3, kLimit = 4, kCancelled = 130 };

/// An error that the command line itself found.
struct Failure : std::runtime_error {
  Failure(int exit_code, const std::string& message) : std::runtime_error(message), code(exit_code) {}
  int code;
};

/// The exit status that stands for a status of the library.
int exit_code(nbl_status status);

/// The options that every command takes.
struct Global {
  int32_t threads = 0;
  std::string isa;
  std::string compute = "fast";
  std::string tune = "off";
  bool no_mmap = false;
  std::string max_ram;
  uint64_t seed = 0;
  std::string json;
  bool markdown = false;
  bool quiet = false;
  bool verbose = false;

  bool json_on_stdout() const { return json == "-"; }
  /// Human-readable results belong on stdout unless JSON goes there.
  bool tables() const { return !json_on_stdout(); }
  int32_t compute_mode() const { return compute == "exact" ? NBL_COMPUTE_EXACT : NBL_COMPUTE_FAST; }
  Runtime make_runtime() const;
  /// Of a model, or of a place that has a vocabulary and no weights.
  Tokenizer open_tokenizer(const Runtime& runtime, const std::string& model) const;
  // lora: adapters, "DIR" or "DIR:SCALE" each, merged into the checkpoint's weights or beside the model's.
  Checkpoint open_checkpoint(const Runtime& runtime, const std::string& model,
                             const std::vector<std::string>& lora = {}) const;
  Model open_model(const Runtime& runtime, const std::string& model, const std::vector<std::string>& lora = {}) const;
};

/// Each adds one command: its options, and what runs when it was chosen.
using Action = std::function<int()>;
struct Commands {
  CLI::App& app;
  Global& global;
  Action& chosen;
};
void add_info(const Commands& commands);
void add_help(const Commands& commands);
void add_inspect(const Commands& commands);
void add_quantize(const Commands& commands);
void add_convert(const Commands& commands);
void add_run(const Commands& commands);
void add_chat(const Commands& commands);
void add_tokenize(const Commands& commands);
void add_score(const Commands& commands);
void add_perplexity(const Commands& commands);
void add_compare(const Commands& commands);
void add_eval(const Commands& commands);
void add_bench(const Commands& commands);
void add_doctor(const Commands& commands);
void add_verify(const Commands& commands);
void add_sweep(const Commands& commands);

// --- files
// -------------------------------------------------------------------------------------------------------------

/// For CLI::App::check: what is wrong with a number that no comparison refuses, "nan"; empty for any other.
std::string check_is_number(const std::string& text);

/// Reads the file and gives it to `use`; what the library has against it is told with the file's name, and as bad input.
void use_file(const std::string& path, const std::function<void(const std::string&)>& use);
/// An argument that the library finds wrong while it opens a file of the user's is always the file.
template <class Open>
auto opened(Open&& open) {
  try {
    return open();
  } catch (const Error& e) {
    if (e.status() == NBL_E_INVALID_ARGUMENT) throw Failure(kBadInput, e.what());
    throw;
  }
}
/// The whole file; Failure(kBadInput) when there is none.
std::string read_file(const std::string& path);
/// Written beside and renamed.
void write_file(const std::string& path, std::string_view bytes);
/// MODEL, where "builtin" is the model that comes with the project.
std::string resolve_model(const std::string& model);
/// The format asked for; where none was, "gguf" for a name that ends so, else "native".
std::string output_format(const std::string& format, const std::string& output);
/// A file, where "builtin" is `name` among the data that comes with the project.
std::string resolve_data(const std::string& file, const std::string& name);
/// "DIR" or "DIR:SCALE" of a LoRA adapter.
std::pair<std::string, float> parse_adapter(const std::string& text);
/// "512M", "4G", "1500000" as bytes.
int64_t parse_size(const std::string& text);
/// "name=value" in two; a usage error that names the option otherwise.
std::pair<std::string, std::string> split_pair(const std::string& text, const char* option);

// --- progress, interruption
// --------------------------------------------------------------------------------------------

/// Ctrl-C and SIGTERM ask the running job to stop; a second one kills.
void catch_signals();
/// A mapped file that another process cuts short is then bad input, said with its name, and not the end by a signal.
void catch_bus_errors();
bool interrupted();
/// Goes on after an interruption: the next Ctrl-C asks again, and ends a read that waits for input.
void clear_interruption();

/// A bar on a terminal, a line every few seconds elsewhere, nothing when quiet. Answers false once interrupted.
ProgressFn make_progress(const Global& global);

// --- results
// -----------------------------------------------------------------------------------------------------------

/// Writes the JSON where --json says, if it says anything.
void emit_json(const Global& global, const std::string& json);

}  // namespace nibble::cli
