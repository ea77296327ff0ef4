// What reading and writing compressed-tensors share.
#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "base/status.h"
#include "dialects/hf_directory.h"

namespace nbl::dialects {

/// How the weights of a model are quantized, from config_groups.
struct CtScheme {
  int bits = 4;
  int64_t group_size = -1;
  int64_t block_rows = 0, block_columns = 0;  ///< FP8 by blocks
  bool operator==(const CtScheme&) const = default;
};

Result<CtScheme> ct_scheme(const Json& quantization, const std::string& origin);
std::unique_ptr<Packing> make_ct_packing(const CtScheme& scheme);

}  // namespace nbl::dialects
