// GGUF files for tests, made byte by byte, so that wrong ones can be made as well.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "tensor/array.h"

namespace nbl::test {

class GgufFile {
 public:
  uint32_t version = 3;
  std::string magic = "GGUF";
  int64_t extra_tensors = 0, extra_keys = 0;  ///< added to the stated counts
  std::size_t alignment = 32;

  template <class T>
  static std::string raw(T value) {
    std::string bytes(sizeof(T), '\0');
    std::memcpy(bytes.data(), &value, sizeof(T));
    return bytes;
  }
  static std::string string(const std::string& text) { return raw<uint64_t>(text.size()) + text; }

  /// A key with a value given as bytes.
  void entry(const std::string& key, uint32_t type, const std::string& value) {
    keys_ += string(key) + raw(type) + value;
    ++key_count_;
  }
  void u32(const std::string& key, uint32_t value) { entry(key, 4, raw(value)); }
  void f32(const std::string& key, float value) { entry(key, 6, raw(value)); }
  void text(const std::string& key, const std::string& value) { entry(key, 8, string(value)); }
  void texts(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = raw<uint32_t>(8) + raw<uint64_t>(values.size());
    for (const std::string& value : values) bytes += string(value);
    entry(key, 9, bytes);
  }

  /// A description of a tensor given as bytes after the name, and what it adds to the data.
  void info(const std::string& name, const std::string& rest, const std::string& data) {
    infos_ += string(name) + rest;
    ++tensor_count_;
    data_ += data;
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
  }
  void tensor_of(const std::string& name, const Shape& shape, uint32_t type, const std::string& data) {
    std::string rest = raw(static_cast<uint32_t>(shape.size()));
    for (auto it = shape.rbegin(); it != shape.rend(); ++it) rest += raw<uint64_t>(static_cast<uint64_t>(*it));
    info(name, rest + raw(type) + raw<uint64_t>(data_.size()), data);
  }
  void tensor(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    tensor_of(name, shape, 0, std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4));
  }

  std::string bytes() const {
    std::string file = magic + raw(version) + raw<uint64_t>(static_cast<uint64_t>(tensor_count_ + extra_tensors)) +
                       raw<uint64_t>(static_cast<uint64_t>(key_count_ + extra_keys)) + keys_ + infos_;
    file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + data_;
  }

 private:
  std::string keys_, infos_, data_;
  int64_t key_count_ = 0, tensor_count_ = 0;
};

}  // namespace nbl::test
