// Whole jobs: open a model from any source, quantize it, write it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/status.h"
#include "quant/method.h"
#include "tensor/checkpoint.h"
#include "text/tokenizer.h"

namespace nbl::pipeline {

/// MODEL as the command line means it: a Hugging Face directory, a native file or directory, a .gguf, a llama2.c .bin. Recognised by
/// content. ("builtin" is resolved by the caller.)
Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::filesystem::path& path);

/// Whatever tokenizer the checkpoint carries, in whatever form; not_found when it has none.
Result<std::unique_ptr<text::Tokenizer>> load_tokenizer(const Checkpoint& checkpoint);

struct Calibration {
  std::vector<text::TokenId> ids;  ///< windows * length
  int64_t windows = 0, length = 0;
  std::string source;              ///< file or "builtin"
  std::string text_sha256;
};
/// Tokenizes `text` and takes `windows` windows of `length` tokens, evenly spread over it.
Result<Calibration> make_calibration(const text::Tokenizer& tokenizer, std::string_view text, std::string_view source,
                                     int64_t windows, int64_t length);

struct QuantizeOptions {
  quant::Recipe recipe;
  /// First match wins; an empty recipe text keeps the tensor as it is. Matched against the whole tensor name.
  std::vector<std::pair<std::string, std::string>> overrides;
  bool include_lm_head = false;
  uint64_t seed = 0;
  Calibration calibration;       ///< may be empty for methods that need none
  std::string format = "native"; ///< output dialect
};

struct LayerReport {
  std::string name, encoding;
  double bits = 0, error = 0, seconds = 0;
  std::vector<std::string> notes;
};
struct QuantizeReport {
  std::string method;
  Json options;
  double bits_per_weight = 0;    ///< all stored bytes of quantized layers over their weights
  int64_t file_bytes = 0, peak_rss_bytes = 0;
  double seconds = 0;
  std::vector<LayerReport> layers;
  std::string output_sha256;
};
/// One decoder layer in memory at a time. On error or cancellation nothing is left at `output`.
Result<QuantizeReport> quantize(const Checkpoint& input, const std::filesystem::path& output,
                                const QuantizeOptions& options, Team& team, const ProgressFn& progress);

}  // namespace nbl::pipeline
