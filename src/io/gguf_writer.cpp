#include "io/gguf_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/file.h"
#include "base/hash.h"
#include "io/gguf_types.h"

namespace nbl::io {
namespace {

constexpr int64_t kAlignment = 32;  // the default, so that no key needs to say it

template <class T>
void append(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

void append_text(std::string& out, std::string_view text) {
  append(out, static_cast<uint64_t>(text.size()));
  out += text;
}

enum Type : uint32_t { kU8 = 0, kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9 };

template <class T>
void append_array(std::string& out, uint32_t type, std::span<const T> values) {
  append(out, type);
  append(out, static_cast<uint64_t>(values.size()));
  out.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

int64_t bytes_of(const GgufTensor& tensor, const TensorSpool& spool) {
  int64_t bytes = 0;
  for (const std::size_t part : tensor.parts) bytes += spool.entries()[part].planned.bytes;
  return bytes;
}

Result<std::string> header_of(const GgufMetadata& metadata, const TensorSpool& spool,
                              std::span<const GgufTensor> tensors) {
  std::string header = "GGUF";
  append(header, uint32_t{3});
  append(header, static_cast<uint64_t>(tensors.size()));
  append(header, metadata.count());
  header += metadata.bytes();
  int64_t at = 0;
  for (const GgufTensor& tensor : tensors) {
    const auto bad = [&](std::string what) {
      return Status(Code::unsupported, fmt::format("tensor {}: {}", tensor.name, std::move(what)));
    };
    const std::string& name = spool.entries()[tensor.parts.front()].planned.type;
    const GgufType* type = gguf_type(name);
    if (type == nullptr) return bad(fmt::format("GGUF has no type {}", name));
    if (tensor.name.size() >= 64) return bad("GGUF names are shorter than 64 bytes");
    if (tensor.shape.empty() || tensor.shape.size() > 4) return bad("GGUF tensors have 1 to 4 dimensions");
    append_text(header, tensor.name);
    append(header, static_cast<uint32_t>(tensor.shape.size()));
    for (auto it = tensor.shape.rbegin(); it != tensor.shape.rend(); ++it) append(header, static_cast<uint64_t>(*it));
    append(header, type->id);
    append(header, static_cast<uint64_t>(at));
    if (!checked_add(at, round_up(bytes_of(tensor, spool), kAlignment), &at)) return bad("the file would be too large");
  }
  header.resize(static_cast<std::size_t>(round_up(static_cast<int64_t>(header.size()), kAlignment)));
  return header;
}

}  // namespace

void GgufMetadata::begin(std::string_view key, uint32_t type) {
  keys_.emplace_back(key);
  append_text(bytes_, key);
  append(bytes_, type);
}
bool GgufMetadata::has(std::string_view key) const { return std::find(keys_.begin(), keys_.end(), key) != keys_.end(); }

void GgufMetadata::set_u32(std::string_view key, uint32_t value) {
  begin(key, kU32);
  append(bytes_, value);
}
void GgufMetadata::set_i32(std::string_view key, int32_t value) {
  begin(key, kI32);
  append(bytes_, value);
}
void GgufMetadata::set_f32(std::string_view key, float value) {
  begin(key, kF32);
  append(bytes_, value);
}
void GgufMetadata::set_bool(std::string_view key, bool value) {
  begin(key, kBool);
  append(bytes_, static_cast<uint8_t>(value));
}
void GgufMetadata::set_text(std::string_view key, std::string_view value) {
  begin(key, kString);
  append_text(bytes_, value);
}
void GgufMetadata::set_texts(std::string_view key, std::span<const std::string> values) {
  begin(key, kArray);
  append(bytes_, uint32_t{kString});
  append(bytes_, static_cast<uint64_t>(values.size()));
  for (const std::string& value : values) append_text(bytes_, value);
}
void GgufMetadata::set_f32s(std::string_view key, std::span<const float> values) {
  begin(key, kArray);
  append_array(bytes_, kF32, values);
}
void GgufMetadata::set_i32s(std::string_view key, std::span<const int32_t> values) {
  begin(key, kArray);
  append_array(bytes_, kI32, values);
}
void GgufMetadata::set_u8s(std::string_view key, std::span<const uint8_t> values) {
  begin(key, kArray);
  append_array(bytes_, kU8, values);
}

Result<std::string> write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata, TensorSpool& spool,
                               std::span<const GgufTensor> tensors) {
  NBL_ASSIGN(const std::string header, header_of(metadata, spool, tensors));
  NBL_ASSIGN(AtomicFile file, AtomicFile::create(path));
  Sha256 hash;
  const auto write = [&](std::span<const std::byte> bytes) -> Status {
    hash.update(bytes);
    return file.write(bytes);
  };
  NBL_TRY(write(std::as_bytes(std::span(header.data(), header.size()))));
  static constexpr std::byte kZeros[kAlignment] = {};
  for (const GgufTensor& tensor : tensors) {
    for (const std::size_t part : tensor.parts) NBL_TRY(spool.drain(part, write));
    const int64_t bytes = bytes_of(tensor, spool);
    NBL_TRY(write({kZeros, static_cast<std::size_t>(round_up(bytes, kAlignment) - bytes)}));
  }
  NBL_TRY(file.commit());
  return hash.finish_hex();
}

}  // namespace nbl::io
