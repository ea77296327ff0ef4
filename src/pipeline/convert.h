// From one checkpoint format to another: the same numbers, or a refusal that names the tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/status.h"
#include "tensor/checkpoint.h"

namespace nbl::pipeline {

struct ConvertOptions {
  std::string format = "native";  ///< output dialect
  bool allow_lossy = false;       ///< requantize what the format cannot hold, instead of refusing
  bool verify = false;            ///< reopen the output and compare tensor by tensor
  Json measured;                  ///< results that were measured of these weights, for the model card; null: none
  std::string version;            ///< of the software, for the manifest; empty: left out
};

/// A tensor that the target could not hold and that was quantized anew.
struct Requantized {
  std::string name, reason, recipe, encoding;
  double max_abs_difference = 0;
  double relative_error = 0;  ///< |W - Q|^2 / |W|^2
};

struct ConvertReport {
  std::string source_format, format;
  bool written = false;   ///< there is an output: false when something was refused
  bool lossless = false;  ///< every value is what it was
  int64_t tensors = 0, tensors_checked = 0, codes_checked = 0;
  double max_abs_difference = 0;
  std::vector<std::string> refused;      ///< "tensor NAME: reason", of everything that stood in the way
  std::vector<std::string> differences;  ///< what verification found, one sentence each
  std::vector<Requantized> requantized;
  int64_t file_bytes = 0, peak_rss_bytes = 0;
  double seconds = 0;
  std::string output_sha256;
};
/// As the command line's --json prints it, without the keys that only the caller knows.
Json to_json(const ConvertReport& report);

/// One tensor in memory at a time. A report with refusals is no error; nothing is then written. On error or cancellation
/// nothing is left at `output`.
Result<ConvertReport> convert(const Checkpoint& input, const std::filesystem::path& output,
                              const ConvertOptions& options, Team& team, const ProgressFn& progress);

}  // namespace nbl::pipeline
