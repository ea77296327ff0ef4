// The small models of tests/golden/architectures: config, names and shapes come from a file, weights from the formula
// that make.py has too, and the checkpoint is written as a Hugging Face directory of a test's own.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "support/safetensors_file.h"
#include "support/temp_dir.h"
#include "text/tokenizer.h"

namespace nbl::test {

inline std::filesystem::path golden_architectures() {
  return std::filesystem::path(NIBBLE_SOURCE_DIR) / "tests/golden/architectures/data";
}

/// Names of the variants, sorted.
inline std::vector<std::string> golden_variants() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_architectures()))
    names.push_back(entry.path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// make.py's weight().
inline std::vector<float> golden_weight(const std::string& name, const Shape& shape) {
  uint64_t seed = 0xcbf29ce484222325u;
  for (const char byte : name) seed = (seed ^ static_cast<unsigned char>(byte)) * 0x100000001b3u;
  int64_t count = 1;
  for (int64_t d : shape) count *= d;
  const double scale = 2.0 / std::sqrt(static_cast<double>(shape.empty() ? 1 : shape.back()));
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t x = static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15u + seed;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    const double unit = static_cast<double>(x >> 40) / 8388608.0 - 1.0;
    values.push_back(static_cast<float>(shape.size() == 1 ? unit * 0.5 + (name.ends_with("weight") ? 1.0 : 0.0)
                                                          : unit * scale));
  }
  return values;
}

struct GoldenModel {
  Json golden;
  TempDir directory;
  std::vector<text::TokenId> ids;

  explicit GoldenModel(const std::string& variant) {
    const auto text = read_text_file(golden_architectures() / (variant + ".json"), 1 << 20);
    EXPECT_TRUE(text.ok()) << text.status().message();
    golden = *Json::parse(*text, variant);
    for (const Json& id : golden.find("ids")->elements()) ids.push_back(static_cast<text::TokenId>(id.as_int()));
    directory.write("config.json", golden.find("config")->dump());
    std::vector<FileTensor> tensors;
    for (const auto& [name, dimensions] : golden.find("tensors")->members()) {
      Shape shape;
      for (const Json& d : dimensions.elements()) shape.push_back(d.as_int());
      tensors.push_back({std::string(name), "F32", shape, raw(golden_weight(std::string(name), shape))});
    }
    write_safetensors(directory / "model.safetensors", tensors);
  }
  std::size_t vocab() const { return golden.find("logits")->elements()[0].size(); }
};

/// A variant's name as a test's.
inline std::string test_name(std::string name) {
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
}

}  // namespace nbl::test
