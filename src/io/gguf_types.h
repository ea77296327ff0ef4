// The element and block types of GGUF.
#pragma once

#include <cstdint>
#include <string_view>

namespace nbl::io {

struct GgufType {
  uint32_t id;
  std::string_view name;
  int64_t block;  ///< elements
  int64_t block_bytes;
};

/// Null for an id that the format does not have (or has given up).
const GgufType* gguf_type(uint32_t id) noexcept;
const GgufType* gguf_type(std::string_view name) noexcept;

}  // namespace nbl::io
