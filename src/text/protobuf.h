// Just enough of the protocol buffers' wire format to read sentencepiece's tokenizer.model.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/status.h"

namespace nbl::text {

/// One field of a message.
struct ProtoField {
  uint32_t number = 0;
  int wire = 0;            ///< 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes
  uint64_t value = 0;      ///< wire 0, 1, 5
  std::string_view bytes;  ///< wire 2

  float as_float() const noexcept {
    const auto bits = static_cast<uint32_t>(value);
    float f;
    std::memcpy(&f, &bits, sizeof(f));
    return f;
  }
  int64_t as_int() const noexcept { return static_cast<int64_t>(value); }
};

class ProtoReader {
 public:
  explicit ProtoReader(std::string_view message) : rest_(message) {}
  bool done() const noexcept { return rest_.empty(); }
  /// Code::corrupt when the message ends within a field.
  Result<ProtoField> next();

 private:
  Status varint(uint64_t* value);
  std::string_view rest_;
};

}  // namespace nbl::text
