#include "text/protobuf.h"

#include <fmt/format.h>

namespace nbl::text {

Status ProtoReader::varint(uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (rest_.empty()) return Status(Code::corrupt, "a message ends within a number");
    const auto byte = static_cast<unsigned char>(rest_[0]);
    rest_.remove_prefix(1);
    *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return {};
  }
  return Status(Code::corrupt, "a number has more than ten bytes");
}

Result<ProtoField> ProtoReader::next() {
  ProtoField field;
  uint64_t key = 0;
  NBL_TRY(varint(&key));
  field.number = static_cast<uint32_t>(key >> 3);
  field.wire = static_cast<int>(key & 7);
  std::size_t length = 0;
  switch (field.wire) {
    case 0:
      NBL_TRY(varint(&field.value));
      return field;
    case 1:
      length = 8;
      break;
    case 5:
      length = 4;
      break;
    case 2: {
      uint64_t n = 0;
      NBL_TRY(varint(&n));
      if (n > rest_.size()) {
        return Status(Code::corrupt,
                      fmt::format("field {} has {} bytes, but {} are left", field.number, n, rest_.size()));
      }
      field.bytes = rest_.substr(0, n);
      rest_.remove_prefix(n);
      return field;
    }
    default:
      return Status(Code::corrupt, fmt::format("field {} has the unknown wire type {}", field.number, field.wire));
  }
  if (length > rest_.size())
    return Status(Code::corrupt, fmt::format("the message ends within field {}", field.number));
  for (std::size_t i = 0; i < length; ++i) {
    field.value |= static_cast<uint64_t>(static_cast<unsigned char>(rest_[i])) << (8 * i);
  }
  rest_.remove_prefix(length);
  return field;
}

}  // namespace nbl::text
