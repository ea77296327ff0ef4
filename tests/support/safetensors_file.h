// Small safetensors files for tests, written through the library's own writer.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "io/container.h"

namespace nbl::test {

struct FileTensor {
  std::string name, type;
  Shape shape;
  std::string bytes;
};

template <class T>
std::string raw(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

inline void write_safetensors(const std::filesystem::path& path, const std::vector<FileTensor>& tensors,
                              const std::map<std::string, std::string>& metadata = {{"format", "pt"}}) {
  std::vector<io::SafetensorsWriter::Planned> plan;
  for (const FileTensor& t : tensors) plan.push_back({t.name, t.type, t.shape, static_cast<int64_t>(t.bytes.size())});
  auto writer = io::SafetensorsWriter::create(path, plan, metadata, false);
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  for (const FileTensor& t : tensors) {
    const Status status = writer->write(std::as_bytes(std::span(t.bytes.data(), t.bytes.size())));
    ASSERT_TRUE(status.ok()) << status.message();
  }
  const Status status = writer->commit();
  ASSERT_TRUE(status.ok()) << status.message();
}

}  // namespace nbl::test
