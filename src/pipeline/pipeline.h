// Whole jobs: open a model from any source, quantize it, write it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/status.h"
#include "quant/method.h"
#include "tensor/checkpoint.h"
#include "tensor/linear.h"
#include "text/tokenizer.h"

namespace nbl::pipeline {

/// MODEL as the command line means it: a Hugging Face directory, a native file or directory, a .gguf, a llama2.c .bin.
/// Recognised by content. ("builtin" is resolved by the caller.)
Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::filesystem::path& path);

/// An error when `output` is a file that `input` is read from, or one of those that its directory is read from: an output put there would
/// destroy what it is made from.
Status spare_input(const Checkpoint& input, const std::filesystem::path& output);

/// Whatever tokenizer the checkpoint carries, in whatever form; not_found when it has none.
Result<std::unique_ptr<text::Tokenizer>> load_tokenizer(const Checkpoint& checkpoint);

/// Token windows that statistics are gathered over. They do not see each other.
struct Calibration {
  std::vector<text::TokenId> ids;  ///< windows * length
  int64_t windows = 0, length = 0;
  std::string source;  ///< what to call the text in the manifest: a file's name or "builtin"
  std::string text_sha256;
  int64_t text_tokens = 0;  ///< tokens in the whole text, 0 when ids were given
};
/// Tokenizes `text` (no special tokens added) and takes `windows` windows of `length` tokens, evenly spread over it and
/// not overlapping. A text too short for that gives fewer windows, and one shorter than `length` a single short window;
/// without two tokens it is an error.
Result<Calibration> make_calibration(const text::Tokenizer& tokenizer, std::string_view text, std::string_view source,
                                     int64_t windows, int64_t length);

/// Windows of text that the model itself writes, sampled at temperature 1 from its beginning-of-text token (a random token
/// without one). Loads the whole model. The same seed, model, arithmetic and processor give the same text.
Result<Calibration> write_calibration(const Checkpoint& checkpoint, int64_t windows, int64_t length, uint64_t seed,
                                      Compute compute, Team& team, const ProgressFn& progress);

struct QuantizeOptions {
  quant::Recipe recipe;
  /// (regular expression, recipe text). First match wins; an empty recipe text keeps the tensor as it is. The
  /// expression must match the whole tensor name ("model.layers.0.mlp.down_proj.weight").
  std::vector<std::pair<std::string, std::string>> overrides;
  bool include_lm_head = false;
  std::string rotation;           ///< what was done to the input before, for the manifest: "hadamard" or empty
  uint64_t seed = 0;
  Calibration calibration;        ///< may be empty for methods that need none
  /// Of the calibration's forward passes and statistics; fast: bfloat16 products where the processor has them.
  Compute compute = Compute::fast;
  std::string format = "native";  ///< output dialect
  std::string version;            ///< of the software, for the manifest; empty: left out
  Json measured;                  ///< results that were measured of this recipe, for the model card; null: none
  /// Go on from the journal that an earlier run of the same job left beside the output, if there is one, and leave it there
  /// when this run fails or is cancelled. Calibrated jobs always keep a journal while they run.
  bool resume = false;
  int64_t max_memory_bytes = 0;  ///< of the process; 0: no cap
  /// Told the plan before the work and what is noteworthy during it.
  std::function<void(const std::string&)> log;
};

struct LayerReport {
  std::string name, encoding;
  double bits = 0, error = 0, seconds = 0;
  std::vector<std::string> notes;
};
struct QuantizeReport {
  std::string method;
  Json options;
  double bits_per_weight = 0;  ///< all stored bytes of quantized layers over their weights
  int64_t file_bytes = 0, peak_rss_bytes = 0;
  double seconds = 0;
  std::vector<LayerReport> layers;
  int64_t resumed_layers = 0;  ///< decoder layers taken from the journal
  Json memory_plan;
  std::string output_sha256;
};
/// As the command line's --json prints it, without the keys that only the caller knows.
Json to_json(const QuantizeReport& report);

/// One decoder layer in memory at a time. Calibration windows run as far as the input of a group of linears, those are
/// quantized, and the windows go on through their new values (methods that are not `sequential`: all statistics of a layer
/// first). Methods that correct earlier layers' errors have the original model run beside. Methods that need no statistics
/// skip all that. On error or cancellation nothing is left at `output`; on success it replaces what was there. Killed at any
/// moment, the job can be resumed (QuantizeOptions::resume) and gives the same bytes.
Result<QuantizeReport> quantize(const Checkpoint& input, const std::filesystem::path& output,
                                const QuantizeOptions& options, Team& team, const ProgressFn& progress);

}  // namespace nbl::pipeline
