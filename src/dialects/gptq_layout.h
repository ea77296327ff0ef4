// GPTQ's tensors (qweight, qzeros, scales, g_idx), which AutoRound's exports share.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "dialects/bitpack.h"
#include "dialects/hf_directory.h"

namespace nbl::dialects {

/// How the stored zero points are meant.
enum class ZeroOffset : uint8_t {
  minus_one,  ///< version 1: zero - 1 is stored
  plain,      ///< version 2
};

struct GptqConvention {
  ZeroOffset zeros = ZeroOffset::minus_one;
  bool zeros_declared = false;  ///< whether the configuration says so itself
  WordOrder order = WordOrder::stream;
  bool carry = false;          ///< one was subtracted from whole words of zero points, borrows and all (GPTQModel)
  int bits = 0;              ///< 0: as each module's shapes say
  int64_t group_size = 128;  ///< -1: the whole row
  bool symmetric = true;
};

/// The convention of a quantization_config; unsupported formats (marlin) are refused by name.
Result<GptqConvention> gptq_convention(const Json& quantization, const std::string& origin);

std::unique_ptr<Packing> make_gptq_packing(const GptqConvention& convention);

}  // namespace nbl::dialects
