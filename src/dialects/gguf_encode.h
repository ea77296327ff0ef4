// QTensors as GGUF's block types: the type that holds exactly these numbers in the fewest bytes, and its blocks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensor/qtensor.h"

namespace nbl::dialects {

struct GgufRows {
  std::string_view type;        ///< "Q4_K", "F16", ...
  int64_t row_bytes = 0;
  std::vector<std::byte> data;  ///< [n][row_bytes], rows in the order of the tensor
};

/// Code::unsupported with the reason when no type of GGUF holds these numbers. `type`: the only one to try; empty: any.
Result<GgufRows> gguf_encode(const QTensor& tensor, std::string_view type = {});

/// The types that are written, smallest first.
std::vector<std::string_view> gguf_writable_types();

}  // namespace nbl::dialects
