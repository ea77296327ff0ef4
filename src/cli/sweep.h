// What `nibble sweep` measures, row by row, and how it is shown.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cli/cli.h"

namespace nibble::cli {

/// One number of one task.
struct SweepTask {
  std::string task, metric;  ///< metric: "acc,none"
  double value = 0, error = 0;
};

struct SweepRow {
  std::string recipe, path;
  double bits_per_weight = 0;
  int64_t file_bytes = 0, peak_rss_bytes = 0;
  double quantize_seconds = 0, load_ms = 0, prefill_tok_s = 0, decode_tok_s = 0;
  double perplexity = 0, perplexity_stderr = 0;
  double mean_kl = 0, kl_stderr = 0, top1_agreement = 1;
  std::vector<SweepTask> tasks;                      ///< each task's first metric
  std::vector<std::pair<std::string, double>> errors;  ///< of each quantized matrix, relative
  std::string continuation;
  bool original = false, pareto = false;
};

/// A smaller model in full precision beside the recipe of about as many bytes.
struct SweepRival {
  std::string name, recipe;
  int64_t file_bytes = 0, recipe_bytes = 0;
  double bits_per_byte = 0, recipe_bits_per_byte = 0, decode_tok_s = 0, recipe_decode_tok_s = 0;
  std::string paired;  ///< JSON list, the recipe less the smaller model; empty without tasks
};

struct Sweep {
  std::string model, text, protocol, prompt, machine;  ///< machine: JSON
  int64_t tokens = 0;                                  ///< scored
  std::vector<SweepRow> rows;                          ///< the original first
  std::vector<SweepRival> rivals;
};

/// How much of everything is measured.
struct SweepMeasures {
  int64_t windows = 0, limit = 0;
  std::vector<std::string> tasks, bench_options;
  std::string data;
};
/// Adds each baseline to sweep->rivals, whose rows are complete and whose models' files are still there.
void measure_rivals(const Global& global, const Runtime& runtime, const std::vector<std::string>& baselines, const SweepMeasures& how,
                    Sweep* sweep);
std::string rivals_json(const Sweep& sweep);
std::string rivals_table(const Sweep& sweep, bool markdown);
std::string rivals_html(const Sweep& sweep);  ///< empty without rivals

/// Marks the rows that no other row beats in both bits per weight and mean KL.
void mark_pareto(Sweep* sweep);
std::string sweep_json(const Sweep& sweep);
std::string sweep_table(const Sweep& sweep, bool markdown);
/// One HTML page, nothing outside it: table, quality against size and against speed, tasks, errors layer by layer.
std::string sweep_html(const Sweep& sweep);

/// Splits "gptq:bits=4,group=64,nf4" into recipes: a part without "=", or with ":" before it, starts a new one.
std::vector<std::string> split_recipes(const std::string& text);

/// What `nibble bench --json -` says about a model, from a process of its own: its memory is the model's alone.
std::string bench_in_child(const Global& global, const std::string& model, const std::vector<std::string>& options);

}  // namespace nibble::cli
