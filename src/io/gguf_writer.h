// Writing GGUF version 3: metadata with its types, and tensors from a spool.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "io/spool.h"

namespace nbl::io {

/// Key-values in the order in which they were set. A key is set once.
class GgufMetadata {
 public:
  void set_u32(std::string_view key, uint32_t value);
  void set_i32(std::string_view key, int32_t value);
  void set_f32(std::string_view key, float value);
  void set_bool(std::string_view key, bool value);
  void set_text(std::string_view key, std::string_view value);
  void set_texts(std::string_view key, std::span<const std::string> values);
  void set_f32s(std::string_view key, std::span<const float> values);
  void set_i32s(std::string_view key, std::span<const int32_t> values);
  void set_u8s(std::string_view key, std::span<const uint8_t> values);

  bool has(std::string_view key) const;
  uint64_t count() const noexcept { return keys_.size(); }
  const std::string& bytes() const noexcept { return bytes_; }

 private:
  void begin(std::string_view key, uint32_t type);
  std::vector<std::string> keys_;
  std::string bytes_;
};

/// One tensor of the file: entries of the spool (planned.type is a GGUF type's name) that lie one behind the other.
struct GgufTensor {
  std::string name;
  Shape shape;  ///< slowest first
  std::vector<std::size_t> parts;
};

/// Writes the tensors behind the metadata, all or nothing. Returns the SHA-256 of the whole file. An entry can be written once.
Result<std::string> write_gguf(const std::filesystem::path& file, const GgufMetadata& metadata, TensorSpool& spool,
                               std::span<const GgufTensor> tensors);

}  // namespace nbl::io
