// The native file: safetensors whose tensors are packed tiles. docs/formats.md is its specification; this is the part
// that reader and writer share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "tensor/qtensor.h"

namespace nbl::dialects::native {

inline constexpr int64_t kVersion = 1;
inline constexpr std::string_view kFormatName = "nibble";
inline constexpr std::string_view kTensorKey = "tensor:";  ///< metadata key of a packed tensor's descriptor
inline constexpr std::string_view kTextKey = "text:";      ///< metadata key of a text's descriptor
inline constexpr std::string_view kTextTensor = "nibble.text.";
inline constexpr std::string_view kConfigText = "config.json";
inline constexpr std::string_view kManifestText = "manifest.json";

/// One stored array of a packed tensor: the suffix to its name, and where it belongs.
struct Part {
  std::string suffix;  ///< ".0.codes"
  int64_t bytes = 0;   ///< exact; stored padded to 64
  Storage* storage = nullptr;
};

/// Every part that `tensor` has, from its descriptive fields (storages may be empty yet) and from what it carries
/// besides.
std::vector<Part> parts_of(QTensor& tensor, bool column_order, bool input_scale);

/// The descriptor: everything but the arrays.
Json describe(const QTensor& tensor);
/// The inverse. Sizes are bounded so that the arithmetic of QTensor cannot overflow; parts are not looked at.
Result<QTensor> parse_descriptor(const Json& json);

}  // namespace nbl::dialects::native
