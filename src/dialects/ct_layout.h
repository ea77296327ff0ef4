// What reading and writing compressed-tensors share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "dialects/hf_directory.h"

namespace nbl::dialects {

/// How weights are quantized: one of config_groups.
struct CtScheme {
  std::vector<std::string> targets;  ///< names of modules, patterns ("re:...") or classes
  bool fp8 = false;
  int bits = 4;
  int64_t group_size = -1;
  int64_t block_rows = 0, block_columns = 0;  ///< FP8 by blocks
};

Result<std::vector<CtScheme>> ct_schemes(const Json& quantization, const std::string& origin);
std::unique_ptr<Packing> make_ct_packing(std::vector<CtScheme> schemes);

}  // namespace nbl::dialects
