// One quantization, as `quantize` and `sweep` ask for it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "cli/cli.h"

namespace nibble::cli {

struct QuantizeJob {
  std::string recipe;
  std::vector<std::pair<std::string, std::string>> settings, overrides;
  std::string calibration = "builtin";  ///< a file, "builtin" or "self"; read only when the method needs it
  int64_t calibration_tokens = 65536, calibration_length = 512;  ///< in windows of that length
  std::string log;  ///< a file for machine-readable events, one JSON object a line; empty: none
};

/// "gptq" of "gptq:bits=4".
std::string method_of(const std::string& recipe);
bool method_has_option(const std::string& method, const std::string& option);
bool method_needs_calibration(const std::string& method);
/// "bits=4,group=128,...": what the method's options are when a recipe does not name them.
std::string method_defaults(const std::string& method);

/// The report, JSON.
std::string run_quantize_job(const Global& global, const Runtime& runtime, const Checkpoint& input,
                             const QuantizeJob& job, const std::string& output);

}  // namespace nibble::cli
