// What is written down about a quantization.
#pragma once

#include "base/json.h"
#include "pipeline/pipeline.h"

namespace nbl::pipeline {

/// What calibration computes in: the same calibration gives the same bytes wherever this is the same.
std::string calibration_arithmetic(const QuantizeOptions& options);

/// Everything that decides the output's bytes, and nothing else: no times, no paths, no machine.
Json make_manifest(const Checkpoint& input, const QuantizeOptions& options, const QuantizeReport& report,
                   bool calibrated);

}  // namespace nbl::pipeline
